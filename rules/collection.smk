"""Species -> images fit for use, split without leakage. Every image has one fate, and the counts reconcile."""


rule fetch_images:
    """Bring the images of every species from the source into one folder, named by content.

    candidates   one row an image asked for; errorCode is "" where it was had
    images       <first two digits>/<sha256>.<suffix>
    origin       what was asked of whom: counts, and the DOI of a download
    """
    input:
        unpack(source_tables),
        classes="results/taxonomy/classes.json",
        taxa="results/taxonomy/taxa.parquet",
    output:
        candidates="results/collection/candidates.parquet",
        images=directory("results/collection/images"),
        origin="results/collection/origin.json",
    log:
        "results/logs/fetch_images/job.log",
    benchmark:
        "results/benchmarks/fetch_images/job.jsonl"
    retries: 2 if CFG.collection.source == "gbif" else 0
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=2000,
        runtime="12h",
    params:
        cfg=settings_of("fetch_images"),
        key=key_of("fetch_images"),
        folder=PLAN.locate(CFG.collection.folder.path) if CFG.collection.source == "folder" else "",
    message:
        "Collecting images ({params.cfg[source]})"
    script:
        "../scripts/fetch_images.py"


rule embed_images:
    """Features of every image, for near-duplicates and outliers that hashes cannot see. Only where a model is set."""
    input:
        unpack(embedding_weights),
        candidates="results/collection/candidates.parquet",
        images="results/collection/images",
    output:
        features="results/collection/features.npy",
        index="results/collection/features.json",
    log:
        "results/logs/embed_images/job.log",
    benchmark:
        "results/benchmarks/embed_images/job.jsonl"
    conda:
        "../envs/torch.yaml"
    threads: THREADS
    resources:
        mem_mb=4000,
        runtime="12h",
        gpu=GPUS,
    params:
        cfg=settings_of("embed_images"),
        key=key_of("embed_images"),
    message:
        "Features of all images ({params.cfg[model]})"
    script:
        "../scripts/embed_images.py"


rule curate_images:
    """Accept each image, or give the first reason against it.

    metadata     accepted images with size, hash and duplicate set
    rejections   the others, each with its reason
    duplicates   every image of a set of duplicates, kept or not
    ledger       counts; in = kept + every reason
    """
    input:
        unpack(features),
        candidates="results/collection/candidates.parquet",
        images="results/collection/images",
    output:
        metadata="results/collection/metadata.parquet",
        rejections="results/collection/rejections.csv",
        duplicates="results/collection/duplicates.parquet",
        ledger="results/collection/ledger.json",
    log:
        "results/logs/curate_images/job.log",
    benchmark:
        "results/benchmarks/curate_images/job.jsonl"
    conda:
        "../envs/data.yaml"
    threads: THREADS
    resources:
        mem_mb=2000,
        runtime="4h",
    params:
        cfg=settings_of("curate_images"),
        key=key_of("curate_images"),
    message:
        "Judging images: shorter side >= {params.cfg[min_side]} px, near-duplicates within {params.cfg[near_duplicate_bits]} bits"
    script:
        "../scripts/curate_images.py"


rule split_images:
    """Deal whole groups of related images to train, validation, test and reserve; fail where one would cross.

    splits    one row an image: split and group
    leakage   links that cross a pair of splits; those that the unit forbids are zero
    tail      what each species got, and what it lacks
    roles     which species are seen, on trial or unseen
    """
    input:
        unpack(previous_split),
        metadata="results/collection/metadata.parquet",
        duplicates="results/collection/duplicates.parquet",
        classes="results/taxonomy/classes.json",
    output:
        splits="results/collection/splits.parquet",
        leakage="results/collection/leakage.csv",
        tail="results/collection/tail.csv",
        roles="results/collection/roles.json",
    log:
        "results/logs/split_images/job.log",
    benchmark:
        "results/benchmarks/split_images/job.jsonl"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=2000,
        runtime="1h",
    params:
        cfg=settings_of("split_images"),
        key=key_of("split_images"),
    message:
        "Splitting by {params.cfg[split][unit]}: {params.cfg[split][test]} test images a species"
    script:
        "../scripts/split_images.py"


rule pack_split:
    """Decode one split at training size into a memory-mapped array. "test" is for scoring alone."""
    input:
        metadata="results/collection/metadata.parquet",
        splits="results/collection/splits.parquet",
        images="results/collection/images",
        classes="results/taxonomy/classes.json",
    output:
        pixels="results/collection/packs/{split}.npy",
        index="results/collection/packs/{split}.json",
    log:
        "results/logs/pack_split/{split}.log",
    benchmark:
        "results/benchmarks/pack_split/{split}.jsonl"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=2000,
        runtime="2h",
    params:
        cfg=settings_of("pack_split"),
        key=key_of("pack_split"),
    message:
        "Packing the {wildcards.split} split at {params.cfg[size]} px"
    script:
        "../scripts/pack_split.py"
