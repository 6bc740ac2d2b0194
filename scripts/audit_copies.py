"""rule audit_copies -> taxaforge.evaluation.copies.audit_copies"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.evaluation.copies import audit_copies

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    audit_copies(
        train=files.train,
        held_out=files.held_out,
        kept=dict(zip(params.cfg["methods"], files.kept, strict=True)),
        metadata=dict(zip(params.cfg["methods"], files.metadata, strict=True)),
        cfg=params.cfg,
        seed=params.cfg["seed"],
        out=out.table,
        out_copies=out.copies,
        out_sheet=out.sheet,
        log=run.log,
    )
