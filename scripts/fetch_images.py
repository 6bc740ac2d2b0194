"""rule fetch_images -> taxaforge.collection.fetch.fetch"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.collection.fetch import fetch

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    located = {name: files.get(name, "") for name in ("table", "names", "archive")}
    fetch(
        classes=files.classes,
        taxa=files.taxa,
        source=params.cfg["source"],
        cfg={**params.cfg["settings"], **located, "path": params.folder},
        taxonomy={"checklist": params.cfg.get("checklist")},
        network=run.network,
        job=params.key,
        seed=params.cfg["seed"],
        out_table=out.candidates,
        out_images=out.images,
        out_origin=out.origin,
        log=run.log,
    )
