"""rule predict_validation -> taxaforge.evaluation.validation.predict_validation"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.evaluation.validation import predict_validation

    files = snakemake.input
    predict_validation(
        model=files.model,
        validation=files.validation,
        out=snakemake.output.predictions,
        device=run.device,
    )
