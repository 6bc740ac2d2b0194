"""What the images are like, beside real ones. Describes; decides nothing."""


rule measure_images:
    """Measure each method's images, and held-out real images beside them as the floor."""
    input:
        unpack(image_models),
        judge="results/evaluation/judge/model.safetensors",
        kept=collect("results/images/{method}/kept.npy", method=METHODS),
        train="results/collection/packs/train.npy",
        reserve="results/collection/packs/reserve.npy",
        validation="results/collection/packs/validation.npy",
        classes="results/taxonomy/classes.json",
    output:
        table="results/evaluation/images.csv",
    log:
        "results/logs/measure_images/job.log",
    benchmark:
        "results/benchmarks/measure_images/job.jsonl"
    conda:
        "../envs/torch.yaml"
    threads: CLASSIFIER_THREADS
    resources:
        mem_mb=4000,
        runtime="4h",
    params:
        cfg=settings_of("measure_images"),
        key=key_of("measure_images"),
        methods=METHODS,
        weighted=list(feature_weights(CFG)),
    message:
        "Measuring images of {params.methods}"
    script:
        "../scripts/measure_images.py"
