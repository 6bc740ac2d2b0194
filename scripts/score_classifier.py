"""rule score_classifier -> taxaforge.evaluation.score.score"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.evaluation.score import score

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    score(
        model=files.model,
        test=files.test,
        classes=files.classes,
        arm=snakemake.wildcards.arm,
        seed=snakemake.wildcards.seed,
        out_predictions=out.predictions,
        out_metrics=out.metrics,
        ledger="results/state/test_openings.jsonl",
        log=run.log,
        device=run.device,
    )
