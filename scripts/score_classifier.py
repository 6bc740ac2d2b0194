"""rule score_classifier -> taxaforge.evaluation.score.score_repeats"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.evaluation.score import score_repeats

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    score_repeats(
        seeds=params.seeds,
        models=files.model,
        test=files.test,
        classes=files.classes,
        arm=snakemake.wildcards.arm,
        out_predictions=out.predictions,
        out_metrics=out.metrics,
        ledger="results/state/test_openings.jsonl",
        log=run.log,
        device=run.device,
    )
