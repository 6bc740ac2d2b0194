"""rule allocate_images -> taxaforge.guidance.budget.allocate"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.guidance.budget import allocate

    files = snakemake.input
    allocate(
        train=files.train,
        classes=files.classes,
        validation=files.get("mistakes"),
        cfg=snakemake.params.cfg,
        out=snakemake.output.table,
        log=run.log,
    )
