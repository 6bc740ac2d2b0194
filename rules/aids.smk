"""What methods use beside the generator: how many images, a guiding classifier, captions, sentences, learned tokens."""


rule allocate_images:
    """Decide how many images of each species every method draws, before any is drawn."""
    input:
        unpack(mistakes),
        train="results/collection/packs/train.npy",
        index="results/collection/packs/train.json",
        classes="results/taxonomy/classes.json",
    output:
        table="results/images/allocation.parquet",
        counts="results/images/allocation.json",
    log:
        "results/logs/allocate_images/job.log",
    benchmark:
        "results/benchmarks/allocate_images/job.jsonl"
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=1000,
        runtime="10m",
    params:
        cfg=settings_of("allocate_images"),
        key=key_of("allocate_images"),
    message:
        "Sharing images among the species ({params.cfg[allocation][by]})"
    script:
        "../scripts/allocate_images.py"


rule train_guide:
    """Train the guiding classifier on the training split; the judge is another, trained on other images."""
    input:
        train="results/collection/packs/train.npy",
        validation="results/collection/packs/validation.npy",
        weights=weights_of("guidance.guide"),
    output:
        model="results/guidance/guide/model.safetensors",
        summary="results/guidance/guide/validation.json",
    log:
        "results/logs/train_guide/job.log",
    benchmark:
        "results/benchmarks/train_guide/job.jsonl"
    conda:
        "../envs/torch.yaml"
    threads: CLASSIFIER_THREADS
    resources:
        gpu=GPUS,
        mem_mb=3000,
        runtime="12h",
    params:
        cfg=settings_of("train_guide"),
        key=key_of("train_guide"),
    message:
        "Training the guiding classifier ({params.cfg[model]})"
    script:
        "../scripts/train_guide.py"


rule caption_images:
    """Find the captions of the training images, or make them."""
    input:
        train="results/collection/packs/train.npy",
        index="results/collection/packs/train.json",
    output:
        captions="results/guidance/captions/{method}.json",
    log:
        "results/logs/caption_images/{method}.log",
    benchmark:
        "results/benchmarks/caption_images/{method}.jsonl"
    retries: 1
    conda:
        "../envs/torch.yaml"
    resources:
        gpu=GPUS,
        mem_mb=4000,
        runtime="12h",
    params:
        cfg=settings_of("caption_images"),
        key=key_of("caption_images"),
    message:
        "Captions of the training images ({params.cfg[captions]})"
    script:
        "../scripts/caption_images.py"


rule rate_prompts:
    """Put label and caption together and measure how far they agree with the image; more agreement, more guidance."""
    input:
        train="results/collection/packs/train.npy",
        captions="results/guidance/captions/{method}.json",
        semantics="results/semantics/model",
        texts="results/diffusion/texts.safetensors",
        names="results/diffusion/texts.json",
        classes="results/taxonomy/classes.json",
    output:
        prompts=directory("results/guidance/prompts/rated/{method}"),
    log:
        "results/logs/rate_prompts/{method}.log",
    benchmark:
        "results/benchmarks/rate_prompts/{method}.jsonl"
    conda:
        "../envs/torch.yaml"
    resources:
        gpu=GPUS,
        mem_mb=4000,
        runtime="4h",
    params:
        cfg=settings_of("rate_prompts"),
        key=key_of("rate_prompts"),
    message:
        "Rating label and caption of every training image for {wildcards.method}"
    script:
        "../scripts/rate_prompts.py"


rule train_discriminator:
    """Train the model that tells species by their names' meaning, on species with training images."""
    input:
        train="results/collection/packs/train.npy",
        validation="results/collection/packs/validation.npy",
        semantics="results/semantics/model",
        classes="results/taxonomy/classes.json",
    output:
        model=directory("results/guidance/discriminator"),
    log:
        "results/logs/train_discriminator/job.log",
    benchmark:
        "results/benchmarks/train_discriminator/job.jsonl"
    conda:
        "../envs/torch.yaml"
    threads: CLASSIFIER_THREADS
    resources:
        gpu=GPUS,
        mem_mb=4000,
        runtime="4h",
    params:
        cfg=settings_of("train_discriminator"),
        key=key_of("train_discriminator"),
    message:
        "Training the discriminator"
    script:
        "../scripts/train_discriminator.py"


rule learn_tokens:
    """Learn a token for every species whose images the discriminator then recognises."""
    input:
        model=f"results/diffusion/{STAGES[-1]}",
        texts="results/diffusion/texts.safetensors",
        names="results/diffusion/texts.json",
        discriminator="results/guidance/discriminator",
        semantics="results/semantics/model",
        train="results/collection/packs/train.npy",
        index="results/collection/packs/train.json",
        classes="results/taxonomy/classes.json",
    output:
        prompts=directory("results/guidance/prompts/learned/{method}"),
    log:
        "results/logs/learn_tokens/{method}.log",
    benchmark:
        "results/benchmarks/learn_tokens/{method}.jsonl"
    retries: 1
    conda:
        "../envs/torch.yaml"
    threads: CLASSIFIER_THREADS
    resources:
        gpu=GPUS,
        mem_mb=4000,
        runtime="12h",
    params:
        cfg=settings_of("learn_tokens"),
        key=key_of("learn_tokens"),
    message:
        "Learning tokens for {wildcards.method}, at most {params.cfg[updates]} updates"
    script:
        "../scripts/learn_tokens.py"
