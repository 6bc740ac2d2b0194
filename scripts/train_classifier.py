"""rule train_classifier -> taxaforge.classification.train.train"""

from taxaforge.adapter import job
from taxaforge.seeds import seed_of

with job(snakemake) as run:
    from taxaforge.classification.train import train

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    train(
        real=files.real,
        validation=files.validation,
        synthetic=files.synthetic,
        arm=snakemake.wildcards.arm,
        budget=params.cfg["budget"],
        cfg={**params.cfg, "weights": next(iter(files.weights), "")},
        seed=seed_of(params.cfg["run_seed"], "classifier", snakemake.wildcards.seed),
        out=out.model,
        out_history=out.history,
        log=run.log,
        device=run.device,
        every_s=run.every_s,
    )
