"""Input functions: which files a rule reads where that depends on settings or wildcards. No rule."""


def taxonomy_files(wildcards):
    """The species list, the offline taxonomy where one is the source, and a person's decisions."""
    settings = {"taxa": "taxa.path", **{name: f"taxonomy.{name}" for name in ("snapshot", "archive", "overrides")}}
    files = resolve_taxa(CFG, {}).files
    return {name: PLAN.locate(files[setting]) for name, setting in settings.items() if setting in files}


def source_tables(wildcards):
    """The user's tables that the source reads."""
    return {setting.rpartition(".")[2]: PLAN.locate(path) for setting, path in source_files(CFG).items()}


def features(wildcards):
    """Features of the images, where a model for them is set."""
    return {"features": "results/collection/features.npy"} if CFG.collection.embedding.model else {}


def embedding_weights(wildcards):
    """The local weights of that model, if any."""
    weights = CFG.collection.embedding.weights
    return {"weights": PLAN.locate(weights)} if weights else {}


def previous_split(wildcards):
    """An earlier split that is to be continued, if any."""
    return {"previous": PLAN.locate(CFG.split.previous)} if CFG.split.previous else {}


def semantics_model(wildcards):
    """The run's own text tower, for the backbone that has none."""
    return {"semantics": "results/semantics/model"} if not compresses(CFG) else {}


def training_files(wildcards):
    """What every stage of the generator looks at: images of its splits, their latents where there are any, names."""
    files = {"texts": "results/diffusion/texts.safetensors", "names": "results/diffusion/texts.json"}
    for split in training_splits(CFG):
        files |= {
            split: f"results/collection/packs/{split}.npy",
            f"{split}_index": f"results/collection/packs/{split}.json",
        }
        if compresses(CFG):
            latents = f"results/diffusion/latents/{split}"
            files |= {f"{split}_latents": f"{latents}.npy", f"{split}_latents_index": f"{latents}.json"}
    return files


def stage_threads(wildcards):
    """A stage of few steps mostly imports and looks, which takes one core: it leaves the others to other jobs."""
    return THREADS if settings_of("train_stage")(wildcards)["steps"] > 100 else min(THREADS, CLASSIFIER_THREADS)


def previous_stage(wildcards):
    """The stage that this one starts from, if any."""
    before = STAGES[: STAGES.index(wildcards.stage)][-1:]
    return {"init": f"results/diffusion/{before[0]}"} if before else {}


def mistakes(wildcards):
    """What the guiding classifier mistakes on validation, where that decides on the number of images."""
    return {"mistakes": "results/guidance/guide/validation.json"} if guided_budget(CFG) else {}


def drawing_aids(wildcards):
    """What a method uses beside the generator."""
    sentences = {"rate_prompts": "rated", "learn_tokens": "learned"}
    files = {
        "train": lambda: {
            "train": "results/collection/packs/train.npy",
            "index": "results/collection/packs/train.json",
        },
        "prompts": lambda: {
            "prompts": f"results/guidance/prompts/{sentences[prompts_of(CFG, wildcards.method)]}/{wildcards.method}"
        },
        "contour": lambda: {"contour": "results/diffusion/contour"},
        "guide": lambda: {"guide": "results/guidance/guide/model.safetensors"},
    }
    return {name: path for need in CFG.guidance.recipe(wildcards.method).needs for name, path in files[need]().items()}


def filter_models(wildcards):
    """The models that checks of the filter ask."""
    files = {"semantics": "results/semantics/model"} if reads_images(CFG) else {}
    return files | ({"guide": "results/guidance/guide/model.safetensors"} if CFG.filter.classifier.top_k else {})


def weights_of(beside=""):
    """The local weights that classifiers start from, if any; `beside`: the section of one that is not compared."""
    files = classifier_settings(CFG, beside)[1]
    return lambda wildcards: [PLAN.locate(path) for name, path in files.items() if name.endswith(".weights")]


def asked_for(wildcards):
    """How many images of each species methods are asked for, by which all arms but `real` count their steps."""
    return ["results/images/allocation.json"] if counts_asked(wildcards.arm) else []


def synthetic_packs(wildcards):
    """The packs of a method's images that an arm takes: those that were kept, or as many drawn blindly."""
    pack = "control" if wildcards.arm.startswith("random-drop+") else "kept"
    return collect("results/images/{method}/{pack}.npy", method=methods_of(wildcards.arm), pack=pack)


def validation_predictions(wildcards):
    """What every classifier says of the validation images, in the order of ARM_SEEDS."""
    return [f"results/classifiers/{w['arm']}/seed{w['seed']}/validation.parquet" for w in ARM_SEEDS]


def zero_shot_tables(wildcards):
    """How unseen species are named, where there are any."""
    tables = {"zero_shot": "results/evaluation/zero_shot.csv", "curve": "results/evaluation/zero_shot_curve.csv"}
    return tables if has_unseen(CFG) else {}


def captions(wildcards):
    """Captions of training images, of the methods that read them."""
    return collect("results/guidance/captions/{method}.json", method=methods_of_kind(CFG, "sgid"))


def audit_table(wildcards):
    """What the audits say, where they are made."""
    return {"audits": "results/evaluation/audits.csv"} if CFG.audit.enabled else {}


def audit_files(wildcards):
    """The same, and what it is based on, for the page."""
    files = {"memorisation": "memorisation.csv", "pairs": "audits/worst_pairs.png"} if CFG.audit.enabled else {}
    return audit_table(wildcards) | {name: f"results/evaluation/{path}" for name, path in files.items()}


def predictions(wildcards):
    """Predictions of every arm and seed, in the order of ARM_SEEDS."""
    return [f"results/classifiers/{w['arm']}/seed{w['seed']}/predictions.parquet" for w in ARM_SEEDS]


def image_models(wildcards):
    """What models images are measured with beside the judge: the run's image-text model, local weights of others."""
    own = {"semantics": "results/semantics/model"} if "semantics" in CFG.evaluation.features else {}
    return own | {"weights": [PLAN.locate(path) for path in feature_weights(CFG).values()]}


def runs_beside(wildcards):
    """Of the runs in evaluation.beside: predictions in the order of ARM_SEEDS, run after run; all runs' training packs."""
    files = {setting: PLAN.locate(path) for setting, path in beside(CFG).items()}
    packs = [path for setting, path in files.items() if setting.endswith(".train")]
    scores = [path for setting, path in files.items() if not setting.endswith(".train")]
    return {"beside": scores, "supports": ["results/collection/packs/train.json", *packs]} if files else {}


def judged_beside(wildcards):
    """Of the runs in evaluation.beside: what their audits say, where audits are made; tables of images, run after run."""
    files = {"audits_beside": audits_beside(CFG), "metadata_beside": images_beside(CFG)}
    return {name: [PLAN.locate(path) for path in paths.values()] for name, paths in files.items() if paths}


def cost_jobs(wildcards):
    """Every job that the ledger waits for, with its benchmark file: others may or may not be done when it is made."""
    return [
        {
            "rule": rule,
            "wildcards": dict(values),
            "benchmark": f"results/benchmarks/{rule}/{'-'.join(values.values()) or 'job'}.jsonl",
        }
        for rule, values in PLAN.before("tally_cost", {})
    ]
