"""Input functions: which files a rule reads where that depends on settings or wildcards. No rule."""


def taxonomy_files(wildcards):
    """The species list, and the offline taxonomy where it is the source."""
    files = {"taxa": PLAN.locate(CFG.taxa.path)}
    if CFG.taxonomy.source == "snapshot":
        files["snapshot"] = PLAN.locate(CFG.taxonomy.snapshot)
    return files


def source_table(wildcards):
    """The user's table of photographs, where the folder source reads one."""
    return {"table": PLAN.locate(CFG.collection.folder.table)} if CFG.collection.source == "folder" else {}


def semantics_model(wildcards):
    """The run's own text tower, for the backbone that has none."""
    return {"semantics": "results/semantics/model"} if CFG.diffusion.backbone == "small" else {}


def previous_stage(wildcards):
    """The stage that this one starts from, if any."""
    before = STAGES[: STAGES.index(wildcards.stage)][-1:]
    return {"init": f"results/diffusion/{before[0]}"} if before else {}


def synthetic_packs(wildcards):
    """The packs that an arm adds to the real images."""
    return collect("results/images/{method}/kept.npy", method=methods_of(wildcards.arm))


def predictions(wildcards):
    """Predictions of every arm and seed, in the order of ARM_SEEDS."""
    return [f"results/classifiers/{w['arm']}/seed{w['seed']}/predictions.parquet" for w in ARM_SEEDS]


def cost_jobs(wildcards):
    """Every job before the report with its benchmark file, for the ledger."""
    once = ["resolve_taxa", "fetch_images", "curate_images", "split_images", "train_semantics", "encode_texts"]
    once += ["train_judge", "measure_images"]
    many = [("pack_split", {"split": split}) for split in SPLITS]
    many += [("train_stage", {"stage": stage}) for stage in STAGES]
    many += [("generate_shard", {"method": method, "shard": shard}) for method in METHODS for shard in SHARDS]
    many += [("gather_images", {"method": method}) for method in METHODS]
    many += [(rule, w) for rule in ("train_classifier", "score_classifier") for w in ARM_SEEDS]
    return [
        {
            "rule": rule,
            "wildcards": dict(values),
            "benchmark": f"results/benchmarks/{rule}/{'-'.join(values.values()) or 'job'}.jsonl",
        }
        for rule, values in [*((rule, {}) for rule in once), *many]
    ]
