"""The image-text model: learns names and lineages on the training split, or is loaded."""


rule train_semantics:
    """Train a small open_clip model on training images and their taxonomic captions, or fetch a pretrained one."""
    input:
        train="results/collection/packs/train.npy",
        index="results/collection/packs/train.json",
        classes="results/taxonomy/classes.json",
    output:
        model=directory("results/semantics/model"),
    log:
        "results/logs/train_semantics/job.log",
    benchmark:
        "results/benchmarks/train_semantics/job.jsonl"
    priority: 10
    conda:
        "../envs/torch.yaml"
    threads: THREADS
    resources:
        gpu=GPUS,
        mem_mb=4000,
        runtime="4h",
    params:
        cfg=settings_of("train_semantics"),
        key=key_of("train_semantics"),
    message:
        "Training the image-text model ({params.cfg[source]})"
    script:
        "../scripts/train_semantics.py"
