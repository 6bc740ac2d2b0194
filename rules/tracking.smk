"""Sending what the jobs recorded to MLflow, after the results stand. An outage costs a warning, never a result."""


rule ship_records:
    """Send the spool: one run a job, nested under one parent an invocation. What cannot be sent stays and goes later."""
    input:
        "results/report/report.html",
    output:
        marker="results/tracking/shipped.json",
    log:
        "results/logs/ship_records/job.log",
    benchmark:
        "results/benchmarks/ship_records/job.jsonl"
    conda:
        "../envs/tracking.yaml"
    resources:
        mem_mb=2000,
        runtime="1h",
    params:
        cfg=settings_of("ship_records"),
        key=key_of("ship_records"),
    message:
        "Sending the jobs' records to tracking"
    script:
        "../scripts/ship_records.py"
