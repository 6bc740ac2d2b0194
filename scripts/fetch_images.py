"""rule fetch_images -> taxaforge.collection.fetch.fetch"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.collection.fetch import fetch

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    fetch(
        classes=files.classes,
        taxa=files.taxa,
        source=params.cfg["source"],
        cfg={**params.cfg["settings"], "path": params.folder, "table": files.get("table", "")},
        taxonomy=params.cfg["taxonomy"],
        seed=params.cfg["seed"],
        out_table=out.candidates,
        out_images=out.images,
        log=run.log,
    )
