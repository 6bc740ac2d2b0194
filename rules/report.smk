"""What people look at: the cost of each arm, figures, and the page that holds everything."""


rule tally_cost:
    """Add up what the jobs took, by job, rule and arm, from the workflow's own benchmark files."""
    input:
        unpack(audit_table),
        predictions=predictions,
        images="results/evaluation/images.csv",
    output:
        table="results/evaluation/cost.csv",
    log:
        "results/logs/tally_cost/job.log",
    benchmark:
        "results/benchmarks/tally_cost/job.jsonl"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=1000,
        runtime="1h",
    params:
        cfg=settings_of("tally_cost"),
        key=key_of("tally_cost"),
        jobs=cost_jobs,
    message:
        "Adding up costs"
    script:
        "../scripts/tally_cost.py"


rule weigh_gains:
    """What a point gained cost, what effects this run can see, and the cheapest run that would settle the rest."""
    input:
        comparisons="results/evaluation/comparisons.csv",
        verdict="results/evaluation/verdict.csv",
        accuracy="results/evaluation/accuracy.csv",
        cost="results/evaluation/cost.csv",
        metadata=collect("results/images/{method}/metadata.parquet", method=METHODS),
        histories=collect("results/classifiers/{arm}/seed0/history.jsonl", arm=ARMS),
    output:
        efficiency="results/evaluation/efficiency.csv",
        power="results/evaluation/power.csv",
        next_run="results/evaluation/next_run.csv",
    log:
        "results/logs/weigh_gains/job.log",
    benchmark:
        "results/benchmarks/weigh_gains/job.jsonl"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=1000,
        runtime="1h",
    params:
        cfg=settings_of("weigh_gains"),
        key=key_of("weigh_gains"),
    message:
        "Weighing gains against costs, planning the next run"
    script:
        "../scripts/weigh_gains.py"


rule draw_figures:
    """Draw every figure of the page."""
    input:
        unpack(zero_shot_tables),
        classes="results/taxonomy/classes.json",
        taxa="results/taxonomy/taxa.parquet",
        metadata="results/collection/metadata.parquet",
        splits="results/collection/splits.parquet",
        train="results/collection/packs/train.npy",
        stages=GENERATOR,
        kept=collect("results/images/{method}/kept.npy", method=METHODS),
        predictions=predictions,
        images="results/evaluation/images.csv",
        accuracy="results/evaluation/accuracy.csv",
        comparisons="results/evaluation/comparisons.csv",
        verdict="results/evaluation/verdict.csv",
        cost="results/evaluation/cost.csv",
    output:
        figures=report(
            directory("results/report/figures"),
            patterns=["{figure}.svg", "{figure}.png"],
            caption="../report/figures.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
    log:
        "results/logs/draw_figures/job.log",
    benchmark:
        "results/benchmarks/draw_figures/job.jsonl"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=2000,
        runtime="1h",
    params:
        cfg=settings_of("draw_figures"),
        key=key_of("draw_figures"),
        stages=STAGES,
        methods=METHODS,
        arm_seeds=ARM_SEEDS,
    message:
        "Drawing figures"
    script:
        "../scripts/draw_figures.py"


rule write_report:
    """Write the page: one file that opens without network."""
    input:
        unpack(audit_files),
        figures="results/report/figures",
        taxa="results/taxonomy/taxa.parquet",
        review="results/taxonomy/review.csv",
        splits="results/collection/splits.parquet",
        rejections="results/collection/rejections.csv",
        ledger="results/collection/ledger.json",
        images="results/evaluation/images.csv",
        accuracy="results/evaluation/accuracy.csv",
        comparisons="results/evaluation/comparisons.csv",
        verdict="results/evaluation/verdict.csv",
        secondary="results/evaluation/secondary.csv",
        cost="results/evaluation/cost.csv",
        efficiency="results/evaluation/efficiency.csv",
        power="results/evaluation/power.csv",
        next_run="results/evaluation/next_run.csv",
    output:
        page=report("results/report/report.html", caption="../report/page.rst", category="Verdict"),
    log:
        "results/logs/write_report/job.log",
    benchmark:
        "results/benchmarks/write_report/job.jsonl"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=1000,
        runtime="1h",
    params:
        cfg=settings_of("write_report"),
        key=key_of("write_report"),
    message:
        "Writing results/report/report.html"
    script:
        "../scripts/write_report.py"
