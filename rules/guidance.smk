"""Synthetic images: shards of each method, then one table a method with every image's scores and decision."""


rule generate_shard:
    """Draw one shard of a method's images. What an image looks like never depends on its shard."""
    input:
        unpack(drawing_aids),
        model=f"results/diffusion/{STAGES[-1]}",
        texts="results/diffusion/texts.safetensors",
        names="results/diffusion/texts.json",
        classes="results/taxonomy/classes.json",
        allocation="results/images/allocation.json",
    output:
        images=directory("results/images/{method}/shards/{shard}"),
    log:
        "results/logs/generate_shard/{method}-{shard}.log",
    benchmark:
        "results/benchmarks/generate_shard/{method}-{shard}.jsonl"
    retries: 1
    conda:
        "../envs/torch.yaml"
    threads: CLASSIFIER_THREADS
    resources:
        gpu=GPUS,
        mem_mb=4000,
        runtime="12h",
    params:
        cfg=settings_of("generate_shard"),
        key=key_of("generate_shard"),
    message:
        "Drawing images with {wildcards.method}, shard {wildcards.shard}"
    script:
        "../scripts/generate_shard.py"


rule gather_images:
    """Put a method's shards together, score every image, decide which are kept.

    metadata   one row an image, dropped ones included, with the reason
    kept       the pack that classifiers add
    control    as many images a species, drawn blindly
    sheet      contact sheet
    """
    input:
        unpack(filter_models),
        shards=collect("results/images/{{method}}/shards/{shard}", shard=SHARDS),
        train="results/collection/packs/train.npy",
        train_index="results/collection/packs/train.json",
        classes="results/taxonomy/classes.json",
    output:
        metadata="results/images/{method}/metadata.parquet",
        kept="results/images/{method}/kept.npy",
        index="results/images/{method}/kept.json",
        control="results/images/{method}/control.npy",
        control_index="results/images/{method}/control.json",
        sheet=report(
            "results/images/{method}/contact_sheet.png",
            caption="../report/samples.rst",
            category="Generated images",
            labels={"method": "{method}"},
        ),
    log:
        "results/logs/gather_images/{method}.log",
    benchmark:
        "results/benchmarks/gather_images/{method}.jsonl"
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=4000,
        runtime="2h",
    params:
        cfg=settings_of("gather_images"),
        key=key_of("gather_images"),
    message:
        "Gathering images of {wildcards.method}, keeping what passes the filter"
    script:
        "../scripts/gather_images.py"
