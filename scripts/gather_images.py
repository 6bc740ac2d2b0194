"""rule gather_images -> taxaforge.guidance.filter.gather"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.guidance.filter import gather

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    gather(
        shards=files.shards,
        semantics=files.get("semantics"),
        guide=files.get("guide"),
        train=files.train,
        classes=files.classes,
        method=snakemake.wildcards.method,
        cfg=params.cfg,
        out=out.metadata,
        out_pack=out.kept,
        out_control=out.control,
        out_sheet=out.sheet,
        log=run.log,
        device=run.device,
        every_s=run.every_s,
    )
