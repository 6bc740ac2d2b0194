"""rule train_contour -> taxaforge.diffusion.contour_training.provide"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.diffusion.contour_training import provide

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    names = {"validation": "validation", "train_latents": "latents", "validation_latents": "validation_latents"}
    provide(
        model=files.model,
        pack=files.train,
        texts=files.texts,
        cfg=params.cfg,
        seed=params.cfg["seed"],
        **{name: files.get(file) for file, name in names.items()},
        out=out.model,
        state_dir=run.state_dir,
        log=run.log,
        show=run.show,
        **run.training,
    )
