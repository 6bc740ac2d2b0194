"""rule compare_arms -> taxaforge.evaluation.comparisons.compare"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.evaluation.bundles import pool
    from taxaforge.evaluation.comparisons import compare

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    predictions = [[w["arm"], w["seed"], path] for w, path in zip(params.arm_seeds, files.predictions, strict=True)]
    predictions = pool(predictions, files.get("beside", []), files.get("supports", []))
    compare(
        predictions=predictions,
        methods=params.cfg["methods"],
        classes=files.classes,
        train=files.train,
        cfg=params.cfg,
        out=out.table,
        out_secondary=out.secondary,
        log=run.log,
    )
