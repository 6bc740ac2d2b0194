"""The collection for others: who made each image, what it contains, and copies in other tools' layouts."""


rule describe_collection:
    """What others need to use or cite the collection: who made each image, under which licence, from which dataset."""
    input:
        metadata="results/collection/metadata.parquet",
        splits="results/collection/splits.parquet",
        candidates="results/collection/candidates.parquet",
        rejections="results/collection/rejections.csv",
        ledger="results/collection/ledger.json",
        origin="results/collection/origin.json",
        classes="results/taxonomy/classes.json",
    output:
        table="results/collection/metadata.csv",
        attribution="results/collection/ATTRIBUTION.csv",
        derived="results/collection/derived_dataset.csv",
        card="results/collection/README.md",
        croissant="results/collection/croissant.json",
    log:
        "results/logs/describe_collection/job.log",
    benchmark:
        "results/benchmarks/describe_collection/job.jsonl"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=2000,
        runtime="1h",
    params:
        cfg=settings_of("describe_collection"),
        key=key_of("describe_collection"),
    message:
        "Describing the collection: attribution, card, Croissant"
    script:
        "../scripts/describe_collection.py"


rule export_view:
    """The collection as another tool wants it: imagefolder, coco (iNaturalist layout) or webdataset."""
    input:
        metadata="results/collection/metadata.parquet",
        splits="results/collection/splits.parquet",
        images="results/collection/images",
        classes="results/taxonomy/classes.json",
    output:
        view=directory("results/collection/views/{view}"),
    log:
        "results/logs/export_view/{view}.log",
    benchmark:
        "results/benchmarks/export_view/{view}.jsonl"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=1000,
        runtime="2h",
    params:
        cfg=settings_of("export_view"),
        key=key_of("export_view"),
    message:
        "Writing the collection as {wildcards.view}"
    script:
        "../scripts/export_view.py"
