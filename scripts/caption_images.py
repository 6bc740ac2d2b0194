"""rule caption_images -> taxaforge.semantics.describe.describe"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.semantics.describe import describe

    describe(
        train=snakemake.input.train,
        cfg=snakemake.params.cfg,
        seed=snakemake.params.cfg["seed"],
        out=snakemake.output.captions,
        state_dir=run.state_dir,
        log=run.log,
        device=run.device,
        every_s=run.every_s,
    )
