"""rule train_stage -> taxaforge.diffusion.launch.train"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.diffusion.launch import train

    files, params = snakemake.input, snakemake.params
    names = {"validation": "validation", "train_latents": "latents", "validation_latents": "validation_latents"}
    train(
        run.processes,
        stage=snakemake.wildcards.stage,
        pack=files.train,
        texts=files.texts,
        cfg=params.cfg,
        seed=params.cfg["seed"],
        init=files.get("init"),
        **{name: files.get(file) for file, name in names.items()},
        out=snakemake.output.model,
        state_dir=run.state_dir,
        log=run.log,
        show=run.show,
        **run.training,
    )
