"""Classifiers: one job an arm, which trains all its repeats, and the judge that names generated images."""


rule train_classifier:
    """Train on an arm's images, once a seed; keep the weights that are best on validation."""
    input:
        real="results/collection/packs/train.npy",
        validation="results/collection/packs/validation.npy",
        synthetic=synthetic_packs,
        allocation=asked_for,
        classes="results/taxonomy/classes.json",
        weights=weights_of(),
    output:
        model=repeats("model.safetensors"),
        history=repeats("history.jsonl"),
    log:
        "results/logs/train_classifier/{arm}.log",
    benchmark:
        "results/benchmarks/train_classifier/{arm}.jsonl"
    conda:
        "../envs/torch.yaml"
    threads: CLASSIFIER_THREADS
    resources:
        gpu=GPUS,
        mem_mb=3000,
        runtime="12h",
    params:
        cfg=settings_of("train_classifier"),
        key=key_of("train_classifier"),
        seeds=SEEDS,
    message:
        "Training {params.cfg[model]} on {wildcards.arm}, seeds {params.seeds}"
    script:
        "../scripts/train_classifier.py"


rule train_judge:
    """Train the classifier that names generated images, on real images that nothing else sees."""
    input:
        reserve="results/collection/packs/reserve.npy",
        weights=weights_of("classification.judge"),
    output:
        model="results/evaluation/judge/model.safetensors",
        summary="results/evaluation/judge/judge.json",
    log:
        "results/logs/train_judge/job.log",
    benchmark:
        "results/benchmarks/train_judge/job.jsonl"
    conda:
        "../envs/torch.yaml"
    threads: CLASSIFIER_THREADS
    resources:
        gpu=GPUS,
        mem_mb=3000,
        runtime="12h",
    params:
        cfg=settings_of("train_judge"),
        key=key_of("train_judge"),
    message:
        "Training the judge ({params.cfg[model]}) on the reserve split"
    script:
        "../scripts/train_judge.py"
