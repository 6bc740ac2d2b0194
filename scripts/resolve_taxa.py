"""rule resolve_taxa -> taxaforge.taxonomy.resolve.resolve"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.taxonomy.resolve import resolve

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    resolve(
        taxa=files.taxa,
        snapshot=files.get("snapshot"),
        cfg=params.cfg,
        out_taxa=out.taxa,
        out_review=out.review,
        out_classes=out.classes,
        log=run.log,
    )
