"""rule train_classifier -> taxaforge.classification.repeats.train_repeats"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.classification.repeats import train_repeats

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    train_repeats(
        seeds=params.seeds,
        **{name: files[name] for name in ("real", "validation", "synthetic", "classes")},
        allocation=next(iter(files.allocation), None),
        arm=snakemake.wildcards.arm,
        cfg={"weights": next(iter(files.weights), ""), **params.cfg},
        out=out.model,
        out_history=out.history,
        state_dir=run.state_dir,
        cache=run.features,
        log=run.log,
        device=run.device,
        every_s=run.every_s,
    )
    run.forget_earlier()
