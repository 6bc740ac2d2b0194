"""Audits: leaks between splits, generated images that are copies, and what they were made from."""


rule audit_leaks:
    """Look for images of one set in another. Besides scoring the only rule that reads test pixels; never their labels.

    leaks         a row a pair of sets, with the outcome
    leaked_pairs  every pair of images that was found
    """
    input:
        train="results/collection/packs/train.npy",
        validation="results/collection/packs/validation.npy",
        reserve="results/collection/packs/reserve.npy",
        test="results/collection/packs/test.npy",
        kept=collect("results/images/{method}/kept.npy", method=METHODS),
        leakage="results/collection/leakage.csv",
    output:
        table="results/evaluation/leaks.csv",
        pairs="results/evaluation/audits/leaked_pairs.csv",
    log:
        "results/logs/audit_leaks/job.log",
    benchmark:
        "results/benchmarks/audit_leaks/job.jsonl"
    conda:
        "../envs/data.yaml"
    threads: CLASSIFIER_THREADS
    resources:
        mem_mb=3000,
        runtime="4h",
    params:
        cfg=settings_of("audit_leaks"),
        key=key_of("audit_leaks"),
    message:
        "Looking for images of one split in another"
    script:
        "../scripts/audit_leaks.py"


rule audit_copies:
    """Hold each method's images against the training images, as held-out real images are.

    table   a row a method and species, with the outcome
    copies  a row a kept image: the training image that it is most like, and how much
    sheet   the most similar pairs, to look at
    """
    input:
        train="results/collection/packs/train.npy",
        held_out=["results/collection/packs/validation.npy", "results/collection/packs/reserve.npy"],
        kept=collect("results/images/{method}/kept.npy", method=METHODS),
        metadata=collect("results/images/{method}/metadata.parquet", method=METHODS),
    output:
        table="results/evaluation/memorisation.csv",
        copies="results/evaluation/audits/copies.parquet",
        sheet="results/evaluation/audits/worst_pairs.png",
    log:
        "results/logs/audit_copies/job.log",
    benchmark:
        "results/benchmarks/audit_copies/job.jsonl"
    conda:
        "../envs/data.yaml"
    threads: CLASSIFIER_THREADS
    resources:
        mem_mb=3000,
        runtime="4h",
    params:
        cfg=settings_of("audit_copies"),
        key=key_of("audit_copies"),
    message:
        "Looking for copies of training images: up to {params.cfg[replicas]} let pass"
    script:
        "../scripts/audit_copies.py"


rule conclude_audits:
    """What the audits say about each method, and whether its images were made from training images alone."""
    input:
        leaks="results/evaluation/leaks.csv",
        memorisation="results/evaluation/memorisation.csv",
        metadata=collect("results/images/{method}/metadata.parquet", method=METHODS),
        train="results/collection/packs/train.json",
        captions=captions,
    output:
        table="results/evaluation/audits.csv",
    log:
        "results/logs/conclude_audits/job.log",
    benchmark:
        "results/benchmarks/conclude_audits/job.jsonl"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=1000,
        runtime="1h",
    params:
        cfg=settings_of("conclude_audits"),
        key=key_of("conclude_audits"),
    message:
        "Drawing conclusions from the audits"
    script:
        "../scripts/conclude_audits.py"
