"""rule ship_records -> taxaforge.tracking.ship.ship_and_mark"""

from taxaforge.adapter import SPOOL, job

with job(snakemake, record=False) as run:
    from taxaforge.tracking.ship import ship_and_mark

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    ship_and_mark(
        spool=SPOOL,
        uri=run.runtime["tracking_uri"],
        experiment=params.cfg["experiment"],
        marker=out.marker,
        invocation=run.invocation,
        tell=run.tell,
    )
