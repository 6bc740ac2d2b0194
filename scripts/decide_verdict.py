"""rule decide_verdict -> taxaforge.evaluation.verdict.decide"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.evaluation.audits import failed, unmade
    from taxaforge.evaluation.verdict import decide

    files, out, cfg = snakemake.input, snakemake.output, snakemake.params.cfg
    methods, beside = cfg["methods"], files.get("metadata_beside", [])
    audits = (files.get("audits"), methods, files.get("audits_beside", []))
    decide(
        comparisons=files.comparisons,
        images=files.images,
        methods=methods,
        synthetic=dict(zip(methods, files.metadata, strict=True)),
        synthetic_beside={method: beside[i :: len(methods)] for i, method in enumerate(methods)},
        audits=failed(*audits),
        unmade=unmade(*audits),
        arms=cfg["arms"],
        cfg=cfg,
        out=out.table,
        log=run.log,
    )
