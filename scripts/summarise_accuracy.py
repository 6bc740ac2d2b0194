"""rule summarise_accuracy -> taxaforge.evaluation.accuracy.summarise"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.evaluation.accuracy import summarise
    from taxaforge.evaluation.bundles import pool

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    predictions = [[w["arm"], w["seed"], path] for w, path in zip(params.arm_seeds, files.predictions, strict=True)]
    predictions = pool(predictions, files.get("beside", []), files.get("supports", []))
    summarise(
        predictions=predictions, classes=files.classes, train=files.train, cfg=params.cfg, out=out.table, log=run.log
    )
