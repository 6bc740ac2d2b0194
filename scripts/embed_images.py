"""rule embed_images -> taxaforge.collection.embed.embed"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.collection.embed import embed

    files, params = snakemake.input, snakemake.params
    embed(
        candidates=files.candidates,
        images=files.images,
        cfg={**params.cfg, "weights": files.get("weights", "")},
        device=run.device,
        out=snakemake.output.features,
        log=run.log,
    )
