"""Names and images: from a species list to packed splits."""

from taxaforge.config.settings import Settings, dump
from taxaforge.plan.node import Job, Node, Wildcards, by_name
from taxaforge.seeds import seed_of


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
    tail, rest = ("imbalance", "order", "head"), ("kind", "shots", "draw")
    if has_unseen(s):
        return dump(s.protocol, *tail)
    read = {"few_shot": rest, "full": ("kind",), "long_tail": (*rest, *tail)}[s.protocol.kind]
    return {name: value for name, value in dump(s.protocol).items() if name in read}


def learning_seed(s: Settings) -> int:
    """The seed of everything that learns from the support or draws with it: another one in another draw of the support.

    Runs of several draws stand for independent repetitions only if initialisation, order and noise differ, too.
    """
    return seed_of(s.run.seed, "draw", s.protocol.draw) % 2**31 if s.protocol.draw else s.run.seed


def has_unseen(s: Settings) -> bool:
    """Are there species without training images, so that naming them is measured apart?"""
    return s.protocol.kind == "zero_shot"


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


RULES = by_name(
    resolve_taxa, fetch_images, embed_images, curate_images, split_images, describe_collection, export_view, pack_split
)
