"""rule train_semantics -> taxaforge.semantics.train.train"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.semantics.train import train

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    train(
        pack=files.train,
        classes=files.classes,
        cfg=params.cfg,
        seed=params.cfg["seed"],
        out=out.model,
        log=run.log,
        device=run.device,
    )
