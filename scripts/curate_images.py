"""rule curate_images -> taxaforge.collection.curate.curate"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.collection.curate import curate

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    curate(
        candidates=files.candidates,
        images=files.images,
        cfg=params.cfg,
        out_metadata=out.metadata,
        out_rejections=out.rejections,
        out_ledger=out.ledger,
        log=run.log,
    )
