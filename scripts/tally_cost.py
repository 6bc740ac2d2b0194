"""rule tally_cost -> taxaforge.evaluation.cost.tally"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.evaluation.cost import tally

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    tally(jobs=params.jobs, arms=params.cfg["arms"], out=out.table, log=run.log)
