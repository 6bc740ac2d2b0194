"""rule train_judge -> taxaforge.classification.judge.train_judge"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.classification.judge import train_judge

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    train_judge(
        reserve=files.reserve,
        cfg={"weights": next(iter(files.weights), ""), **params.cfg},
        cache=run.features,
        seed=params.cfg["seed"],
        out=out.model,
        out_summary=out.summary,
        log=run.log,
        device=run.device,
        every_s=run.every_s,
    )
