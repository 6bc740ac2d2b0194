"""rule describe_collection -> taxaforge.collection.publish.describe"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.collection.publish import describe

    describe(
        **dict(snakemake.input.items()),
        facts=snakemake.params.cfg,
        **{f"out_{name}": path for name, path in snakemake.output.items()},
        log=run.log,
    )
