"""rule split_images -> taxaforge.collection.split.split"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.collection.split import split

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    split(
        metadata=files.metadata,
        duplicates=files.duplicates,
        previous=files.get("previous"),
        classes=files.classes,
        split=params.cfg["split"],
        protocol=params.cfg["protocol"],
        seed=params.cfg["seed"],
        out_splits=out.splits,
        out_leakage=out.leakage,
        out_tail=out.tail,
        out_roles=out.roles,
        log=run.log,
    )
