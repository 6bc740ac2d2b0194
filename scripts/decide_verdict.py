"""rule decide_verdict -> taxaforge.evaluation.verdict.decide"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.evaluation.audits import failed, unmade
    from taxaforge.evaluation.verdict import decide

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    decide(
        comparisons=files.comparisons,
        images=files.images,
        methods=params.cfg["methods"],
        synthetic=dict(zip(params.cfg["methods"], files.metadata, strict=True)),
        audits=failed(files.get("audits"), params.cfg["methods"]),
        unmade=unmade(files.get("audits"), params.cfg["methods"]),
        arms=params.cfg["arms"],
        cfg=params.cfg,
        out=out.table,
        log=run.log,
    )
