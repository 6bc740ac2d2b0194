"""rule resolve_taxa -> taxaforge.taxonomy.resolve.resolve"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.taxonomy.resolve import resolve

    files = snakemake.input
    resolve(
        taxa=files.taxa,
        snapshot=files.get("snapshot"),
        archive=files.get("archive"),
        overrides=files.get("overrides"),
        cfg=snakemake.params.cfg,
        network=run.network,
        **{f"out_{name}": path for name, path in snakemake.output.items()},
        log=run.log,
    )
