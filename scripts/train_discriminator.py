"""rule train_discriminator -> taxaforge.semantics.discriminator.train_discriminator"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.semantics.discriminator import train_discriminator

    files, params = snakemake.input, snakemake.params
    train_discriminator(
        train=files.train,
        validation=files.validation,
        semantics=files.semantics,
        classes=files.classes,
        cfg=params.cfg,
        seed=params.cfg["seed"],
        out=snakemake.output.model,
        log=run.log,
        device=run.device,
        every_s=run.every_s,
    )
