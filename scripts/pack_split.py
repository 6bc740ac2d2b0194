"""rule pack_split -> taxaforge.collection.pack.pack"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.collection.pack import pack

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    pack(
        metadata=files.metadata,
        splits=files.splits,
        images=files.images,
        classes=files.classes,
        name=snakemake.wildcards.split,
        size=params.cfg["size"],
        out=out.pixels,
    )
