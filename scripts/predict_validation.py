"""rule predict_validation -> taxaforge.evaluation.validation.predict_repeats"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.evaluation.validation import predict_repeats

    files = snakemake.input
    predict_repeats(
        models=files.model,
        validation=files.validation,
        out=snakemake.output.predictions,
        device=run.device,
    )
