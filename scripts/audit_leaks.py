"""rule audit_leaks -> taxaforge.evaluation.leaks.audit_leaks"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.evaluation.leaks import audit_leaks

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    audit_leaks(
        train=files.train,
        validation=files.validation,
        reserve=files.reserve,
        test=files.test,
        kept=dict(zip(params.cfg["methods"], files.kept, strict=True)),
        leakage=files.leakage,
        cfg=params.cfg,
        seed=params.cfg["seed"],
        out=out.table,
        out_pairs=out.pairs,
        log=run.log,
    )
