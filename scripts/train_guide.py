"""rule train_guide -> taxaforge.classification.guide.train_guide"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.classification.guide import train_guide

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    train_guide(
        train=files.train,
        validation=files.validation,
        cfg={"weights": next(iter(files.weights), ""), **params.cfg},
        cache=run.features,
        seed=params.cfg["seed"],
        out=out.model,
        out_summary=out.summary,
        log=run.log,
        device=run.device,
        every_s=run.every_s,
    )
