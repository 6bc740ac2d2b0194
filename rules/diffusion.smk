"""The generator: frozen text tokens once, then one job a stage, each starting from the one before.

It is what a run waits for longest, so it comes before other jobs that could run (`priority`).
"""


rule encode_texts:
    """Encode every distinct "<level>: <name>" once; training and sampling only look tokens up."""
    input:
        unpack(semantics_model),
        classes="results/taxonomy/classes.json",
    output:
        texts="results/diffusion/texts.safetensors",
        index="results/diffusion/texts.json",
    log:
        "results/logs/encode_texts/job.log",
    benchmark:
        "results/benchmarks/encode_texts/job.jsonl"
    priority: 10
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=4000,
        runtime="1h",
    params:
        cfg=settings_of("encode_texts"),
        key=key_of("encode_texts"),
    message:
        "Encoding the names of {params.cfg[levels]}"
    script:
        "../scripts/encode_texts.py"


rule encode_latents:
    """Encode every training and validation image once, where the denoiser works on latents."""
    input:
        pack="results/collection/packs/{split}.npy",
        index="results/collection/packs/{split}.json",
    output:
        latents="results/diffusion/latents/{split}.npy",
        index="results/diffusion/latents/{split}.json",
    log:
        "results/logs/encode_latents/{split}.log",
    benchmark:
        "results/benchmarks/encode_latents/{split}.jsonl"
    wildcard_constraints:
        split="train|validation",
    conda:
        "../envs/torch.yaml"
    threads: THREADS
    resources:
        gpu=GPUS,
        mem_mb=8000,
        runtime="4h",
    params:
        cfg=settings_of("encode_latents"),
        key=key_of("encode_latents"),
    message:
        "Encoding the {wildcards.split} images of {params.cfg[size]} px"
    script:
        "../scripts/encode_latents.py"


rule train_stage:
    """Train one stage. A killed or failed job continues from its last checkpoint when started again."""
    input:
        unpack(training_files),
        unpack(previous_stage),
    output:
        model=directory("results/diffusion/{stage}"),
    log:
        "results/logs/train_stage/{stage}.log",
    benchmark:
        "results/benchmarks/train_stage/{stage}.jsonl"
    priority: 10
    retries: 3
    conda:
        "../envs/torch.yaml"
    threads: stage_threads
    resources:
        gpu=GPUS,
        mem_mb=4000,
        runtime="24h",
    params:
        cfg=settings_of("train_stage"),
        key=key_of("train_stage"),
    message:
        "Training stage {wildcards.stage}: {params.cfg[steps]} steps of {params.cfg[batch_size]} images"
    script:
        "../scripts/train_stage.py"


rule train_contour:
    """Train a ControlNet on contours of the training images, or take a ready-made one. Continues like a stage."""
    input:
        unpack(training_files),
        model=f"results/diffusion/{STAGES[-1]}",
    output:
        model=directory("results/diffusion/contour"),
    log:
        "results/logs/train_contour/job.log",
    benchmark:
        "results/benchmarks/train_contour/job.jsonl"
    retries: 3
    conda:
        "../envs/torch.yaml"
    threads: CLASSIFIER_THREADS
    resources:
        gpu=GPUS,
        mem_mb=4000,
        runtime="24h",
    params:
        cfg=settings_of("train_contour"),
        key=key_of("train_contour"),
    message:
        "Training the contour adapter: {params.cfg[steps]} steps of {params.cfg[batch_size]} images"
    script:
        "../scripts/train_contour.py"
