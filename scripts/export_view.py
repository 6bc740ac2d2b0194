"""rule export_view -> taxaforge.collection.views.export"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.collection.views import export

    files = snakemake.input
    export(
        view=snakemake.wildcards.view,
        licences=snakemake.params.cfg["licences"],
        metadata=files.metadata,
        splits=files.splits,
        images=files.images,
        classes=files.classes,
        out=snakemake.output.view,
        log=run.log,
    )
