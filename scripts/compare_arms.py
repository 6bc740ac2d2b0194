"""rule compare_arms -> taxaforge.evaluation.comparisons.compare"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.evaluation.comparisons import compare

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    predictions = [[w["arm"], w["seed"], path] for w, path in zip(params.arm_seeds, files.predictions, strict=True)]
    compare(
        predictions=predictions,
        methods=params.cfg["methods"],
        classes=files.classes,
        cfg=params.cfg,
        out=out.table,
        log=run.log,
    )
