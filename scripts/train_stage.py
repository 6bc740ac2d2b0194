"""rule train_stage -> taxaforge.diffusion.stage.train"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.diffusion.stage import train

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    train(
        stage=snakemake.wildcards.stage,
        pack=files.train,
        texts=files.texts,
        cfg=params.cfg,
        seed=params.cfg["seed"],
        init=files.get("init"),
        out=out.model,
        state_dir=run.state_dir,
        log=run.log,
        device=run.device,
        every_s=run.every_s,
    )
