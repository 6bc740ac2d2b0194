"""rule weigh_gains -> taxaforge.evaluation.weighing.weigh"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.evaluation.weighing import weigh

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    weigh(
        comparisons=files.comparisons,
        verdict=files.verdict,
        accuracy=files.accuracy,
        cost=files.cost,
        synthetic=dict(zip(params.cfg["methods"], files.metadata, strict=True)),
        histories=dict(zip(params.cfg["arms"], files.histories, strict=True)),
        cfg=params.cfg,
        out_efficiency=out.efficiency,
        out_power=out.power,
        out_next=out.next_run,
        log=run.log,
    )
