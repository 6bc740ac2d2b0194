"""rule conclude_audits -> taxaforge.evaluation.audits.conclude"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.evaluation.audits import conclude

    files, params = snakemake.input, snakemake.params
    conclude(
        leaks=files.leaks,
        memorisation=files.memorisation,
        metadata=dict(zip(params.cfg["methods"], files.metadata, strict=True)),
        train=files.train,
        captions=dict(zip(params.cfg["captioned"], files.captions, strict=True)),
        out=snakemake.output.table,
        log=run.log,
    )
