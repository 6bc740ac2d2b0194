"""The generator: frozen text tokens once, then one job a stage, each starting from the one before."""


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


rule train_stage:
    """Train one stage. A killed or failed job continues from its last checkpoint when started again."""
    input:
        unpack(previous_stage),
        train="results/collection/packs/train.npy",
        index="results/collection/packs/train.json",
        texts="results/diffusion/texts.safetensors",
        names="results/diffusion/texts.json",
    output:
        model=directory("results/diffusion/{stage}"),
    log:
        "results/logs/train_stage/{stage}.log",
    benchmark:
        "results/benchmarks/train_stage/{stage}.jsonl"
    retries: 1
    conda:
        "../envs/torch.yaml"
    threads: THREADS
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
