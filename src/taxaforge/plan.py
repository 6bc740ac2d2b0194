"""The plan: for every rule its settings, the files of the user that enter at it, and what it stands on.

One function a rule, named like the rule, pure in (settings, wildcards). `Plan` turns them into the
two params that every rule carries: `cfg`, plain settings that make a dry run's reasons readable,
and `key`, the lineage key. A test compares the edges here with Snakemake's own graph.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from taxaforge.config.settings import Settings, dump
from taxaforge.errors import TaxaforgeError
from taxaforge.files import sha256_of
from taxaforge.lineage import fingerprint, key, plain

Wildcards = Mapping[str, str]
Job = tuple[str, Wildcards]

SPLITS = ("train", "validation", "test", "reserve")
VIEWS = ("imagefolder", "coco", "webdataset")


@dataclass(frozen=True)
class Node:
    """settings: what the job computes with. after: the jobs whose results it reads. files: user files, by their setting.

    alternative: the one of `lineage.ALTERNATIVES` that the job runs, if only one.
    """

    settings: dict
    after: list[Job] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    alternative: str = ""


class MissingUserFile(TaxaforgeError):
    """A file that the configuration names does not exist."""


# taxonomy and collection


def resolve_taxa(s: Settings, w: Wildcards) -> Node:
    source = s.taxonomy.source
    settings = {"source": source, "accept": s.taxonomy.accept}
    if source == "gbif":
        settings |= {"checklist": s.taxonomy.checklist, "cross_check": s.taxonomy.cross_check}
    files = {"taxa.path": s.taxa.path}
    if source in ("snapshot", "archive"):
        files[f"taxonomy.{source}"] = getattr(s.taxonomy, source)
    if s.taxonomy.overrides:
        files["taxonomy.overrides"] = s.taxonomy.overrides
    return Node(settings, files=files)


def fetch_images(s: Settings, w: Wildcards) -> Node:
    source = s.collection.source
    own = getattr(s.collection, source)
    settings = {"source": source, "settings": dump(own), "seed": s.run.seed}
    if source == "gbif":
        settings["checklist"] = s.taxonomy.checklist
    return Node(settings, [("resolve_taxa", {})], source_files(s))


def source_files(s: Settings) -> dict[str, str]:
    """Tables of the user that a source reads: setting -> path."""
    source = s.collection.source
    own = getattr(s.collection, source)
    read = {"folder": ["table"] * (s.collection.folder.layout == "table") + ["names"], "gbif": ["archive"]}
    return {f"collection.{source}.{name}": path for name in read.get(source, ()) if (path := getattr(own, name))}


def embed_images(s: Settings, w: Wildcards) -> Node:
    weights = s.collection.embedding.weights
    files = {"collection.embedding.weights": weights} if weights else {}
    return Node({"model": s.collection.embedding.model}, [("fetch_images", {})], files)


def curate_images(s: Settings, w: Wildcards) -> Node:
    settings = {**dump(s.collection.quality), "cap": dump(s.collection.cap), "seed": s.run.seed}
    if not s.collection.embedding.model:
        return Node(settings, [("fetch_images", {})])
    settings["near_duplicate"] = s.collection.embedding.near_duplicate
    return Node(settings, [("fetch_images", {}), ("embed_images", {})])


def split_images(s: Settings, w: Wildcards) -> Node:
    settings = {"split": dump(s.split, "previous"), "protocol": protocol(s), "seed": s.run.seed}
    files = {"split.previous": s.split.previous} if s.split.previous else {}
    return Node(settings, [("curate_images", {}), ("resolve_taxa", {})], files)


def protocol(s: Settings) -> dict:
    """Of section `protocol` what its kind reads."""
    return {name: value for name, value in dump(s.protocol).items() if has_unseen(s) or name in ("kind", "shots")}


def publishable(s: Settings) -> list[str]:
    """Licences under which an image may leave the house."""
    accepted = s.collection.gbif.licences if s.collection.source == "gbif" else []
    return sorted({*s.collection.publish, *accepted})


def describe_collection(s: Settings, w: Wildcards) -> Node:
    facts = {
        "name": s.run.name,
        "source": s.collection.source,
        "licences": publishable(s),
        "split": dump(s.split, "previous"),
        "seed": s.run.seed,
    }
    return Node(facts, [("resolve_taxa", {}), ("fetch_images", {}), ("curate_images", {}), ("split_images", {})])


def export_view(s: Settings, w: Wildcards) -> Node:
    after = [("resolve_taxa", {}), ("fetch_images", {}), ("curate_images", {}), ("split_images", {})]
    return Node({"licences": publishable(s)}, after)


def pack_split(s: Settings, w: Wildcards) -> Node:
    after = [("curate_images", {}), ("split_images", {}), ("fetch_images", {}), ("resolve_taxa", {})]
    return Node({"size": s.collection.size}, after)


def pack(split: str) -> Job:
    """The job that packs a split. Only scoring may ask for the sealed one, "test"."""
    return ("pack_split", {"split": split})


# semantics and diffusion


def train_semantics(s: Settings, w: Wildcards) -> Node:
    return Node({**dump(s.semantics), "seed": s.run.seed}, [pack("train"), ("resolve_taxa", {})])


def stages(s: Settings) -> list[str]:
    """Stages in the order in which they are trained."""
    return s.diffusion.stage_names


def compresses(s: Settings) -> bool:
    """Does the denoiser work on latents that are worth keeping?"""
    return s.diffusion.backbone != "small"


def pipeline(s: Settings) -> dict:
    """What names a ready-made pipeline."""
    return {"pretrained": s.diffusion.pretrained, "revision": s.diffusion.revision}


def encode_texts(s: Settings, w: Wildcards) -> Node:
    own = {"backbone": s.diffusion.backbone, "levels": s.diffusion.used_levels}
    if compresses(s):
        return Node({**own, **pipeline(s)}, [("resolve_taxa", {})])
    return Node(own, [("resolve_taxa", {}), ("train_semantics", {})])


def encode_latents(s: Settings, w: Wildcards) -> Node:
    flip = s.diffusion.flip and w["split"] == "train"
    return Node({**pipeline(s), "size": s.collection.size, "flip": flip}, [pack(w["split"])])


def training_splits(s: Settings) -> list[str]:
    """The splits that a stage looks at."""
    return ["train", "validation"] if s.diffusion.watch.validate_every else ["train"]


def training_data(s: Settings) -> list[Job]:
    latents = [("encode_latents", {"split": split}) for split in training_splits(s)] if compresses(s) else []
    return [*map(pack, training_splits(s)), *latents, ("encode_texts", {})]


def stage_settings(s: Settings) -> dict:
    """What all stages share."""
    shared = dump(s.diffusion, "base", "stages", "contour", "channels" if compresses(s) else "pretrained")
    if not compresses(s):
        del shared["revision"]
    return {**shared, "levels": s.diffusion.used_levels, "size": s.collection.size, "seed": s.run.seed}


def train_stage(s: Settings, w: Wildcards) -> Node:
    stage, order = w["stage"], stages(s)
    own = s.diffusion.base if stage == "base" else s.diffusion.stages.get(stage)
    before = [("train_stage", {"stage": previous}) for previous in order[: order.index(stage)][-1:]]
    return Node({**stage_settings(s), **(dump(own) if own else {})}, [*training_data(s), *before])


def train_contour(s: Settings, w: Wildcards) -> Node:
    settings = {**stage_settings(s), **dump(s.diffusion.contour)}
    return Node(settings, [*training_data(s), ("train_stage", {"stage": stages(s)[-1]})])


# guidance


def last_stage(s: Settings) -> Job:
    return ("train_stage", {"stage": stages(s)[-1]})


def methods_of_kind(s: Settings, kind: str) -> list[str]:
    return [name for name in s.guidance.methods if s.guidance.recipe(name).kind == kind]


def uses(s: Settings, aid: str) -> bool:
    """Does any method use it?"""
    return any(aid in s.guidance.recipe(name).needs for name in s.guidance.methods)


def guided_budget(s: Settings) -> bool:
    """Does the number of images depend on what the guiding classifier mistakes?"""
    return s.guidance.allocation.by == "confused"


def guide_trained(s: Settings) -> bool:
    """Does anything in the run ask the guiding classifier?"""
    return uses(s, "guide") or guided_budget(s) or bool(s.filter.classifier.top_k)


def train_guide(s: Settings, w: Wildcards) -> Node:
    settings, files = classifier_settings(s)
    settings = {**settings, "epochs": s.guidance.guide.epochs, "seed": s.run.seed}
    return Node(settings, [pack("train"), pack("validation")], files)


def caption_images(s: Settings, w: Wildcards) -> Node:
    own = s.guidance.recipe(w["method"])
    asked = {"captions": own.captions, "name": w["method"], "seed": s.run.seed}
    if own.captions == "blip":
        asked |= {name: dump(own)[name] for name in ("captioner", "captioner_revision", "candidates")}
    return Node(asked, [pack("train")])


def rate_prompts(s: Settings, w: Wildcards) -> Node:
    own = s.guidance.recipe(w["method"])
    names = ("least_scale", "most_scale", "direction", "percentiles")
    settings = {"backbone": s.diffusion.backbone, "name": w["method"], **{name: dump(own)[name] for name in names}}
    settings |= pipeline(s) if compresses(s) else {}
    before = [("caption_images", {"method": w["method"]}), ("train_semantics", {}), ("encode_texts", {})]
    return Node(settings, [*before, pack("train"), ("resolve_taxa", {})])


def train_discriminator(s: Settings, w: Wildcards) -> Node:
    settings = {**dump(s.guidance.discriminator), "seed": s.run.seed}
    return Node(settings, [pack("train"), pack("validation"), ("train_semantics", {}), ("resolve_taxa", {})])


def learn_tokens(s: Settings, w: Wildcards) -> Node:
    own = s.guidance.recipe(w["method"])
    settings = {**dump(own, "learning_steps"), "steps": own.learning_steps}
    settings |= {"backbone": s.diffusion.backbone, "name": w["method"], "seed": s.run.seed}
    settings |= pipeline(s) if compresses(s) else {}
    before = [last_stage(s), ("encode_texts", {}), ("train_discriminator", {}), ("train_semantics", {})]
    return Node(settings, [*before, pack("train"), ("resolve_taxa", {})])


def allocate_images(s: Settings, w: Wildcards) -> Node:
    settings = {"images_per_species": s.guidance.images_per_species, "allocation": dump(s.guidance.allocation)}
    mistakes = [("train_guide", {})] if guided_budget(s) else []
    return Node(settings, [pack("train"), ("resolve_taxa", {}), *mistakes])


def prompts_of(s: Settings, method: str) -> str:
    """The rule that makes a method's sentences."""
    return {"sgid": "rate_prompts", "dig_zsl": "learn_tokens"}[s.guidance.recipe(method).kind]


def generate_shard(s: Settings, w: Wildcards) -> Node:
    own = s.guidance.recipe(w["method"])
    settings = {
        "steps": s.guidance.steps,
        "scheduler": s.guidance.scheduler,
        "shards": s.guidance.shards,
        "seed": s.run.seed,
        **dump(own),
    }
    aids = {
        "train": lambda: pack("train"),
        "prompts": lambda: (prompts_of(s, w["method"]), {"method": w["method"]}),
        "contour": lambda: ("train_contour", {}),
        "guide": lambda: ("train_guide", {}),
    }
    after = [last_stage(s), ("encode_texts", {}), ("resolve_taxa", {}), ("allocate_images", {})]
    return Node(settings, [*after, *(aids[need]() for need in own.needs)], alternative=own.kind)


def gather_images(s: Settings, w: Wildcards) -> Node:
    shards = [("generate_shard", {"method": w["method"], "shard": str(shard)}) for shard in range(s.guidance.shards)]
    judges = [("train_semantics", {})] * reads_images(s) + [("train_guide", {})] * bool(s.filter.classifier.top_k)
    return Node(dump(s.filter), [*shards, ("resolve_taxa", {}), pack("train"), *judges])


def reads_images(s: Settings) -> bool:
    """Does a check of the filter ask the image-text model?"""
    return bool(s.filter.semantics.top_k or s.filter.near_copy or s.filter.near_repeat)


# classification and evaluation


def classifier_settings(s: Settings) -> tuple[dict, dict[str, str]]:
    """(settings that any classifier is trained with, its user files)."""
    files = {"classification.weights": s.classification.weights} if s.classification.weights else {}
    return dump(s.classification, "arms", "seeds", "judge", "weights"), files


def methods_of(arm: str) -> list[str]:
    """The method whose images an arm adds: none or one."""
    return [method] if (method := arm.partition("+")[2]) else []


def train_classifier(s: Settings, w: Wildcards) -> Node:
    settings, files = classifier_settings(s)
    budget = None if w["arm"] == "real" else s.guidance.images_per_species
    synthetic = [("gather_images", {"method": method}) for method in methods_of(w["arm"])]
    return Node(
        {**settings, "budget": budget, "run_seed": s.run.seed}, [pack("train"), pack("validation"), *synthetic], files
    )


def train_judge(s: Settings, w: Wildcards) -> Node:
    settings, files = classifier_settings(s)
    return Node({**settings, "epochs": s.classification.judge.epochs, "seed": s.run.seed}, [pack("reserve")], files)


def arms_and_seeds(s: Settings) -> list[Wildcards]:
    return [{"arm": arm, "seed": str(seed)} for arm in s.classification.arms for seed in range(s.classification.seeds)]


def score_classifier(s: Settings, w: Wildcards) -> Node:
    return Node({}, [("train_classifier", dict(w)), pack("test"), ("resolve_taxa", {})])


def all_scores(s: Settings) -> list[Job]:
    return [("score_classifier", w) for w in arms_and_seeds(s)]


def has_unseen(s: Settings) -> bool:
    """Are there species without training images, so that naming them is measured apart?"""
    return s.protocol.kind == "zero_shot"


def predict_validation(s: Settings, w: Wildcards) -> Node:
    return Node({}, [("train_classifier", dict(w)), pack("validation")])


def score_zero_shot(s: Settings, w: Wildcards) -> Node:
    named = [("predict_validation", w) for w in arms_and_seeds(s)]
    before = [*all_scores(s), *named, ("split_images", {}), ("resolve_taxa", {}), pack("train")]
    return Node({"alpha": s.evaluation.alpha, "seed": s.run.seed}, before)


def gathered(s: Settings) -> list[Job]:
    return [("gather_images", {"method": method}) for method in s.guidance.methods]


def measure_images(s: Settings, w: Wildcards) -> Node:
    settings = {
        "neighbours": s.evaluation.neighbours,
        "floor_splits": s.evaluation.floor_splits,
        "seed": s.run.seed,
    }
    real = [pack("train"), pack("reserve"), pack("validation")]
    return Node(settings, [("train_judge", {}), *gathered(s), *real, ("resolve_taxa", {})])


def summarise_accuracy(s: Settings, w: Wildcards) -> Node:
    return Node({"alpha": s.evaluation.alpha}, [*all_scores(s), pack("train"), ("resolve_taxa", {})])


def compare_arms(s: Settings, w: Wildcards) -> Node:
    settings = {"alpha": s.evaluation.alpha, "methods": s.guidance.methods}
    return Node(settings, [*all_scores(s), ("resolve_taxa", {})])


def decide_verdict(s: Settings, w: Wildcards) -> Node:
    settings = {
        "alpha": s.evaluation.alpha,
        "delta_points": s.evaluation.delta_points,
        "methods": s.guidance.methods,
        "arms": s.classification.arms,
    }
    return Node(settings, [("compare_arms", {}), ("measure_images", {}), *gathered(s)])


def tally_cost(s: Settings, w: Wildcards) -> Node:
    arms = {
        arm: {"methods": methods_of(arm), "rules": rules_behind(s, methods_of(arm))} for arm in s.classification.arms
    }
    return Node({"arms": arms}, [*all_scores(s), ("measure_images", {})])


def rules_behind(s: Settings, methods: list[str]) -> list[str]:
    """The rules whose jobs a run makes only to have the images of these methods."""
    found, waiting = set(), [("gather_images", {"method": method}) for method in methods]
    while waiting:
        rule, w = waiting.pop()
        if rule not in ("resolve_taxa", "pack_split"):  # from there on it is what real images take, too
            found.add(rule)
            waiting += RULES[rule](s, w).after
    return sorted(found)


# report and tracking


def draw_figures(s: Settings, w: Wildcards) -> Node:
    tables = ["measure_images", "summarise_accuracy", "compare_arms", "decide_verdict", "tally_cost"]
    tables += ["score_zero_shot"] * has_unseen(s)
    data = ("resolve_taxa", "curate_images", "split_images")
    after = [(rule, {}) for rule in (*tables, *data)]
    after += [pack("train"), *gathered(s), *all_scores(s)]
    after += [("train_stage", {"stage": stage}) for stage in stages(s)]
    return Node({"delta_points": s.evaluation.delta_points}, after)


def write_report(s: Settings, w: Wildcards) -> Node:
    everything = {name: value for name, value in dump(s).items() if name not in ("runtime", "tracking", "network")}
    for section, name in (("taxonomy", "offline"), ("collection", "views"), ("collection", "publish")):
        del everything[section][name]  # changes nothing that the page shows
    everything["guidance"]["recipes"] = {name: dump(s.guidance.recipe(name)) for name in s.guidance.methods}
    return Node({"settings": everything}, [("draw_figures", {}), *draw_figures(s, w).after])


def ship_records(s: Settings, w: Wildcards) -> Node:
    return Node({**dump(s.tracking), "name": s.run.name}, [("write_report", {})])


RULES: dict[str, Callable[[Settings, Wildcards], Node]] = {
    rule.__name__: rule
    for rule in (
        resolve_taxa, fetch_images, embed_images, curate_images, split_images, describe_collection, export_view, pack_split,
        train_semantics, encode_texts, encode_latents, train_stage, train_contour,
        train_guide, caption_images, rate_prompts, train_discriminator, learn_tokens, allocate_images,
        generate_shard, gather_images, train_classifier, train_judge, score_classifier, measure_images,
        predict_validation, score_zero_shot, summarise_accuracy, compare_arms, decide_verdict, tally_cost, draw_figures, write_report, ship_records,
    )
}  # fmt: skip


class Plan:
    """Settings and keys of every job of one configuration.

    Args:
        settings: the validated configuration.
        root: the checkout; user files are looked for in the working directory, then here.
    """

    def __init__(self, settings: Settings, root: Path):
        self.settings, self.root = settings, root
        self._keys: dict[tuple, str] = {}
        self._digests: dict[str, str] = {}

    def cfg(self, rule: str) -> Callable[[Wildcards], dict]:
        """For `params: cfg=`: the rule's own settings as plain values."""
        return lambda wildcards: plain(RULES[rule](self.settings, dict(wildcards.items())).settings)

    def key(self, rule: str) -> Callable[[Wildcards], str]:
        """For `params: key=`: the lineage key."""
        return lambda wildcards: self.key_of(rule, dict(wildcards.items()))

    def key_of(self, rule: str, wildcards: Wildcards) -> str:
        """The lineage key of one job. Raises MissingUserFile."""
        job = (rule, *sorted(wildcards.items()))
        if job not in self._keys:
            node = RULES[rule](self.settings, wildcards)
            upstream = [self.key_of(*before) for before in node.after]
            files = {setting: self._digest(setting, path) for setting, path in node.files.items()}
            code = fingerprint(self.root / "scripts" / f"{rule}.py", node.alternative)
            self._keys[job] = key(rule, dict(wildcards), node.settings, code, files, sorted(upstream))
        return self._keys[job]

    def locate(self, path: str) -> str:
        """A user file: as it stands from the working directory, else from the checkout."""
        return path if Path(path).exists() or Path(path).is_absolute() else str(self.root / path)

    def check_files(self) -> None:
        """Raises MissingUserFile for the first file named in the settings that is not there."""
        for rule in ("resolve_taxa", "fetch_images", "embed_images", "split_images", "train_judge"):
            for setting, path in RULES[rule](self.settings, {}).files.items():
                self._digest(setting, path)

    def _digest(self, setting: str, path: str) -> str:
        if path not in self._digests:
            found = Path(self.locate(path))
            if not found.is_file():
                raise MissingUserFile(
                    f"{setting}: there is no file {path!r}, neither in the working directory nor beside the Snakefile. "
                    f"Correct {setting} in the configuration."
                )
            self._digests[path] = sha256_of(found)
        return self._digests[path]
