"""rule measure_images -> taxaforge.evaluation.images.measure"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.evaluation.images import measure

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    measure(
        judge=files.judge,
        kept=dict(zip(params.methods, files.kept, strict=True)),
        train=files.train,
        reserve=files.reserve,
        validation=files.validation,
        classes=files.classes,
        cfg=params.cfg,
        seed=params.cfg["seed"],
        out=out.table,
        log=run.log,
        semantics=files.get("semantics"),
        weights=dict(zip(params.weighted, files.get("weights", []), strict=True)),
        device=run.device,
    )
