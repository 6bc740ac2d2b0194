"""rule train_classifier -> taxaforge.classification.repeats.train_repeats"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.classification.repeats import train_repeats

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    train_repeats(
        seeds=params.seeds,
        real=files.real,
        validation=files.validation,
        synthetic=files.synthetic,
        arm=snakemake.wildcards.arm,
        cfg={"weights": next(iter(files.weights), ""), **params.cfg},
        out=out.model,
        out_history=out.history,
        state_dir=run.state_dir,
        cache=run.features,
        classes=files.classes,
        log=run.log,
        device=run.device,
        every_s=run.every_s,
    )
    run.forget_earlier()
