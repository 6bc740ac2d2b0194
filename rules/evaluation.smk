"""Scores on the sealed test split, paired comparisons, the verdict and what it all cost."""


rule score_classifier:
    """Name every test image once with each repeat of an arm. The only rule that reads the sealed split."""
    input:
        model=repeats("model.safetensors"),
        test="results/collection/packs/test.npy",
        index="results/collection/packs/test.json",
        classes="results/taxonomy/classes.json",
    output:
        predictions=repeats("predictions.parquet"),
        metrics=repeats("metrics.json"),
    log:
        "results/logs/score_classifier/{arm}.log",
    benchmark:
        "results/benchmarks/score_classifier/{arm}.jsonl"
    conda:
        "../envs/torch.yaml"
    threads: CLASSIFIER_THREADS
    resources:
        mem_mb=3000,
        runtime="2h",
    params:
        cfg=settings_of("score_classifier"),
        key=key_of("score_classifier"),
        seeds=SEEDS,
    message:
        "Scoring {wildcards.arm}, seeds {params.seeds}"
    script:
        "../scripts/score_classifier.py"


rule predict_validation:
    """Name every validation image once: where a calibration for unseen species is chosen."""
    input:
        model=repeats("model.safetensors"),
        validation="results/collection/packs/validation.npy",
        index="results/collection/packs/validation.json",
    output:
        predictions=repeats("validation.parquet"),
    log:
        "results/logs/predict_validation/{arm}.log",
    benchmark:
        "results/benchmarks/predict_validation/{arm}.jsonl"
    conda:
        "../envs/torch.yaml"
    threads: CLASSIFIER_THREADS
    resources:
        mem_mb=3000,
        runtime="2h",
    params:
        cfg=settings_of("predict_validation"),
        key=key_of("predict_validation"),
        seeds=SEEDS,
    message:
        "Naming validation images: {wildcards.arm}, seeds {params.seeds}"
    script:
        "../scripts/predict_validation.py"


rule score_zero_shot:
    """How well species without training images are named, and at what price for the others."""
    input:
        predictions=predictions,
        validation=validation_predictions,
        roles="results/collection/roles.json",
        train="results/collection/packs/train.json",
        classes="results/taxonomy/classes.json",
    output:
        table="results/evaluation/zero_shot.csv",
        curve="results/evaluation/zero_shot_curve.csv",
    log:
        "results/logs/score_zero_shot/job.log",
    benchmark:
        "results/benchmarks/score_zero_shot/job.jsonl"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=2000,
        runtime="1h",
    params:
        cfg=settings_of("score_zero_shot"),
        key=key_of("score_zero_shot"),
        arm_seeds=ARM_SEEDS,
    message:
        "Scoring unseen species"
    script:
        "../scripts/score_zero_shot.py"


rule summarise_accuracy:
    """Accuracy of every arm: each seed, and their mean with its interval, overall, by rank and by species."""
    input:
        unpack(runs_beside),
        predictions=predictions,
        train="results/collection/packs/train.json",
        classes="results/taxonomy/classes.json",
    output:
        table="results/evaluation/accuracy.csv",
    log:
        "results/logs/summarise_accuracy/job.log",
    benchmark:
        "results/benchmarks/summarise_accuracy/job.jsonl"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=2000,
        runtime="1h",
    params:
        cfg=settings_of("summarise_accuracy"),
        key=key_of("summarise_accuracy"),
        arm_seeds=ARM_SEEDS,
    message:
        "Summarising accuracy"
    script:
        "../scripts/summarise_accuracy.py"


rule compare_arms:
    """Paired differences between each method's arm and each control: accuracy overall, by tier and by species, and more."""
    input:
        unpack(runs_beside),
        predictions=predictions,
        train="results/collection/packs/train.json",
        classes="results/taxonomy/classes.json",
    output:
        table="results/evaluation/comparisons.csv",
        secondary="results/evaluation/secondary.csv",
    log:
        "results/logs/compare_arms/job.log",
    benchmark:
        "results/benchmarks/compare_arms/job.jsonl"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=2000,
        runtime="1h",
    params:
        cfg=settings_of("compare_arms"),
        key=key_of("compare_arms"),
        arm_seeds=ARM_SEEDS,
    message:
        "Comparing arms on paired seeds and images"
    script:
        "../scripts/compare_arms.py"


rule decide_verdict:
    """Adopt, inconclusive or do not use: for each method, overall, by tier and by species, with the reason."""
    input:
        unpack(audit_table),
        unpack(judged_beside),
        comparisons="results/evaluation/comparisons.csv",
        images="results/evaluation/images.csv",
        metadata=collect("results/images/{method}/metadata.parquet", method=METHODS),
    output:
        table=report("results/evaluation/verdict.csv", caption="../report/verdict.rst", category="Verdict"),
    log:
        "results/logs/decide_verdict/job.log",
    benchmark:
        "results/benchmarks/decide_verdict/job.jsonl"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=1000,
        runtime="1h",
    params:
        cfg=settings_of("decide_verdict"),
        key=key_of("decide_verdict"),
    message:
        "Deciding: smallest gain worth using {params.cfg[delta_points]} points"
    script:
        "../scripts/decide_verdict.py"
