"""rule curate_images -> taxaforge.collection.curate.curate"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.collection.curate import curate

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    curate(
        candidates=files.candidates,
        images=files.images,
        features=files.get("features"),
        cfg=params.cfg,
        seed=params.cfg["seed"],
        workers=snakemake.threads,
        out_metadata=out.metadata,
        out_rejections=out.rejections,
        out_duplicates=out.duplicates,
        out_ledger=out.ledger,
        log=run.log,
    )
