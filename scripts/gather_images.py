"""rule gather_images -> taxaforge.guidance.filter.gather"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.guidance.filter import gather

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    gather(
        shards=files.shards,
        semantics=files.semantics,
        classes=files.classes,
        method=snakemake.wildcards.method,
        cfg=params.cfg,
        out=out.metadata,
        out_pack=out.kept,
        out_sheet=out.sheet,
        log=run.log,
    )
