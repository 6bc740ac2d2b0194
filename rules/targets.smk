"""One target a phase: `snakemake taxonomy`, `collection`, `generator`, `contour`, `images`, `classifiers`, `scores`, `report`."""

TAXONOMY = collect(
    "results/taxonomy/{table}", table=["taxa.parquet", "review.csv", "classes.json", "collisions.csv", "provenance.csv"]
)
COLLECTION = collect(
    "results/collection/{table}",
    table=["metadata.parquet", "splits.parquet", "rejections.csv", "leakage.csv", "tail.csv", "ledger.json", "images"]
    + ["metadata.csv", "ATTRIBUTION.csv", "derived_dataset.csv", "README.md", "croissant.json"],
)
CHOSEN_VIEWS = collect("results/collection/views/{view}", view=CFG.collection.views)
PACKS = collect("results/collection/packs/{split}.npy", split=SPLITS)
GENERATOR = collect("results/diffusion/{stage}", stage=STAGES)
IMAGES = collect("results/images/{method}/{file}", method=METHODS, file=["metadata.parquet", "kept.npy"])
CLASSIFIERS = collect("results/classifiers/{arm}/seed{seed}/model.safetensors", arm=ARMS, seed=SEEDS)
SCORES = collect(
    "results/classifiers/{arm}/seed{seed}/{file}", arm=ARMS, seed=SEEDS, file=["predictions.parquet", "metrics.json"]
)
EVALUATION = collect(
    "results/evaluation/{table}.csv",
    table=["images", "accuracy", "comparisons", "verdict", "cost"] + ["secondary", "efficiency", "power", "next_run"],
)
AUDITS = [
    "results/evaluation/audits.csv",
    "results/evaluation/audits/leaked_pairs.csv",
    "results/evaluation/audits/copies.parquet",
    "results/evaluation/audits/worst_pairs.png",
]
EVALUATION += AUDITS * CFG.audit.enabled
TRACKING = ["results/tracking/shipped.json"] if CFG.tracking.enabled else []


localrules:
    taxonomy,
    collection,
    views,
    generator,
    contour,
    images,
    classifiers,
    scores,
    report,
    all,


rule taxonomy:
    """Names resolved, the doubtful ones listed for review."""
    input:
        TAXONOMY,


rule collection:
    """Images chosen, split without leakage and packed at training size."""
    input:
        COLLECTION,
        PACKS,
        CHOSEN_VIEWS,


rule views:
    """The collection in every other layout."""
    input:
        collect("results/collection/views/{view}", view=VIEWS),


rule generator:
    """The generator, a folder a stage."""
    input:
        "results/semantics/model",
        GENERATOR,


rule contour:
    """An adapter that draws along given contours, beside the generator; no method of `all` needs it yet."""
    input:
        GENERATOR,
        "results/diffusion/contour",


rule images:
    """Synthetic images of every method, each with its record."""
    input:
        IMAGES,


rule classifiers:
    """A trained classifier for every arm and seed."""
    input:
        CLASSIFIERS,


rule scores:
    """Predictions on the sealed test split, and the tables made from them."""
    input:
        SCORES,
        EVALUATION,


rule report:
    """The page to read."""
    input:
        "results/report/report.html",
