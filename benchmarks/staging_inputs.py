"""What the comparison of staged training is made from: pictures, species, judges, frozen texts; each made once.

A world is a set of species with pictures: held-out ones, ones for the judge, and a pool to train from. A
collection is a world with so many training images a rare and a common species. Every seed draws its own
training images from the pool, and trains its own text tower on them.
"""

import csv
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rules import ROOT
from taxaforge.files import atomic, read_json, write_json
from taxaforge.packs import Pack
from taxaforge.seeds import seed_of

LEVELS = ["order", "family", "genus", "species"]
RANKS = ("kingdom", "phylum", "class", *LEVELS)
NEAR_BITS = 28
"""As `collection.quality.near_duplicate_bits`: of photographs this near, or near when mirrored, one is kept."""
SPLITS = 4
"""Halvings of the held-out images over which distances are averaged."""
SCOPES = ("all", "rare", "common")
TOWER = {"source": "trained", "width": 128, "layers": 2, "context_length": 12, "steps": 150, "batch_size": 64,
         "learning_rate": 1e-3}  # fmt: skip
JUDGE = {"batch_size": 32, "weight_decay": 0.05, "label_smoothing": 0.1, "augmentation": "standard"}
STOPPING = 0.15
"""Share of the judge's pictures that chooses its checkpoint."""


@dataclass(frozen=True)
class World:
    """held_out: real images a species to compare with, even. pool: images a species to train from. judge: its settings.

    signal: Pagel's lambda of drawn specimens, None for the photographs. All other images train the judge.
    """

    held_out: int
    pool: int
    signal: float | None
    judge: dict


@dataclass(frozen=True)
class Collection:
    """rare, common: training images a species."""

    world: str
    rare: int
    common: int


DRAWN = 500  # individuals a species: 60 held out, 240 in the pool, 200 for the judge
SMALL_JUDGE = {"model": "test_resnet", "weights": "", "image_size": 32, "epochs": 15, "learning_rate": 4e-3}
PHOTO_JUDGE = {
    "model": "tf_efficientnet_lite0",
    "weights": "weights/tf_efficientnet_lite0.in1k.safetensors",
    "image_size": 64,
    "epochs": 8,
    "learning_rate": 1e-3,
}
WORLDS = {
    "simulated-1": World(60, 240, 1.0, SMALL_JUDGE),
    "simulated-0": World(60, 240, 0.0, SMALL_JUDGE),
    "lepidoptera": World(24, 40, None, PHOTO_JUDGE),
}
COLLECTIONS = {
    "lambda-1": Collection("simulated-1", 10, 60),
    "lambda-0": Collection("simulated-0", 10, 60),
    "lepidoptera-20": Collection("lepidoptera", 20, 30),
    "lepidoptera-10": Collection("lepidoptera", 10, 30),
}


# ---------------------------------------------------------------- species and pictures


def simulated_species() -> list[dict]:
    """Lineage records of the embedded default's list, synonyms under their accepted names."""
    with (ROOT / "config/taxa/snapshot.csv").open(encoding="utf-8", newline="") as file:
        names = {row["scientificName"]: row for row in csv.DictReader(file)}
    with (ROOT / "config/taxa/default.csv").open(encoding="utf-8", newline="") as file:
        asked = [names[row["scientificName"]]["acceptedScientificName"] for row in csv.DictReader(file)]
    return [_record(names[name], names[name]["taxonID"]) for name in asked]


def photographed_species(shared: Path) -> list[dict]:
    with (shared / "data/lepidoptera/species.csv").open(encoding="utf-8", newline="") as file:
        return [
            _record(row | {"species": row["scientificName"]}, row["scientificName"]) for row in csv.DictReader(file)
        ]


def _record(row: dict, taxon: str) -> dict:
    return {"taxonID": taxon} | {rank: row[rank] or None for rank in RANKS}


def rare_species(records: list[dict]) -> list[str]:
    """A third of the species, each with a common relative where there are genera enough, in a fixed order.

    First the last species of every genus that has several, the rest by hash: whoever borrows from
    relatives has somebody to borrow from.
    """
    genus: dict[str | None, list[str]] = {}
    for record in records:
        genus.setdefault(record["genus"], []).append(record["species"])
    related = [names[-1] for name, names in genus.items() if name and len(names) > 1]
    others = sorted({r["species"] for r in records} - {n for names in genus.values() if len(names) > 1 for n in names},
                    key=lambda name: seed_of("rare", name))  # fmt: skip
    return [*related, *others][: len(records) // 3]


def drawn(records: list[dict], signal: float) -> Iterator[tuple[str, int, Image.Image]]:
    """(identifier, class, picture) of DRAWN individuals a species, with the settings of the embedded default."""
    from taxaforge.collection.sources.simulated import candidates

    cfg = {
        "images_per_species": DRAWN,
        "phylogenetic_signal": signal,
        "individual_sd": 0.3,
        "nuisance": 0.3,
        "images_per_observer": 1,
        "duplicate_share": 0.0,
    }
    index = {record["species"]: number for number, record in enumerate(records)}
    for one in candidates(records, cfg, 0):
        if one.identifier.rsplit(":", 1)[1].isdigit():  # the others are planted for the curation
            yield one.identifier, index[one.scientificName], Image.open(io.BytesIO(one.content)).convert("RGB")


def photographed(records: list[dict], shared: Path) -> Iterator[tuple[str, int, Image.Image]]:
    """The same of the photographs, without near duplicates."""
    from taxaforge.collection.near import near_groups
    from taxaforge.collection.pixels import open_rgb
    from taxaforge.collection.quality import measure

    folder = shared / "data/lepidoptera"
    index = {record["species"]: number for number, record in enumerate(records)}
    with (folder / "images.csv").open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: seed_of("near", row["image"]))
    measured = [measure(folder / row["image"]) for row in rows]
    hashes = [
        np.array([list(bytes.fromhex(m[name])) for m in measured], np.uint8) for name in ("img_phash", "mirror_phash")
    ]
    _, first = np.unique(near_groups(*hashes, NEAR_BITS), return_index=True)
    for row in (rows[i] for i in sorted(first)):
        yield Path(row["image"]).stem, index[row["scientificName"]], open_rgb(folder / row["image"])


# ---------------------------------------------------------------- a world, and the training images of a seed


def make_world(name: str, folder: Path, shared: Path, size: int) -> None:
    """classes.json, held_out / pool / judging / stopping packs, judge.safetensors, and last world.json."""
    from taxaforge.classification.train import train
    from taxaforge.collection.pixels import square

    world = WORLDS[name]
    photos = world.signal is None
    records = photographed_species(shared) if photos else simulated_species()
    found = photographed(records, shared) if photos else drawn(records, world.signal)
    pictures = [(identifier, label, np.asarray(square(image, size))) for identifier, label, image in found]
    write_json(folder / "classes.json", records)
    packs = dealt(pictures, [record["species"] for record in records], world)
    for part, pack in packs.items():
        pack.save(folder / f"{part}.npy")
    weights = str(shared / world.judge["weights"]) if world.judge["weights"] else ""
    train(
        real=folder / "judging.npy",
        validation=folder / "stopping.npy",
        synthetic=[],
        arm="real",
        budget=None,
        cfg=JUDGE | world.judge | {"weights": weights},
        seed=seed_of("judge", name),
        out=folder / "judge.safetensors",
        out_history=folder / "judge.jsonl",
        every_s=30,
    )
    rare = rare_species(records)
    counts = {part: len(pack) for part, pack in packs.items()}
    write_json(folder / "world.json", {"rare": rare, "images": counts, "real": real_against_real(folder, rare)})


def dealt(pictures: list[tuple[str, int, np.ndarray]], species: list[str], world: World) -> dict[str, Pack]:
    """The pictures of every species, in an order by hash, as packs `held_out`, `pool`, `judging` and `stopping`."""
    parts: dict[str, list[tuple[str, int, np.ndarray]]] = {"held_out": [], "pool": [], "judging": [], "stopping": []}
    for label in range(len(species)):
        mine = sorted((one for one in pictures if one[1] == label), key=lambda one: seed_of("deal", one[0]))
        first, second = world.held_out, world.held_out + world.pool
        third = second + round(STOPPING * (len(mine) - second))
        cuts = {"held_out": (0, first), "pool": (first, second), "stopping": (second, third), "judging": (third, None)}
        for part, (low, high) in cuts.items():
            parts[part] += mine[low:high]
    return {part: packed(rows, species) for part, rows in parts.items()}


def packed(rows: list[tuple[str, int, np.ndarray]], species: list[str]) -> Pack:
    names = [identifier for identifier, _, _ in rows]
    label = np.array([label for _, label, _ in rows], np.int64)
    return Pack(np.stack([pixels for *_, pixels in rows]), species, names, label, names, [""] * len(rows))


def make_support(collection: Collection, seed: int, world: Path, folder: Path, device: str) -> None:
    """The training images of a seed, the text tower trained on them, and its texts; texts.json comes last.

    Common species have the same images in all collections of a world; the fewer of a rare one are among the more.
    """
    from taxaforge.classification.judge import subset
    from taxaforge.diffusion.texts import encode
    from taxaforge.semantics.train import train

    pool, rare = Pack.load(world / "pool.npy"), read_json(world / "world.json")["rare"]
    chosen = []
    for label, name in enumerate(pool.classes):
        mine = np.flatnonzero(pool.label == label)
        ranked = sorted(mine, key=lambda i: seed_of("support", seed, pool.identifier[i]))
        chosen += ranked[: collection.rare if name in rare else collection.common]
    with atomic(folder) as temporary:
        temporary.mkdir()
        subset(pool, np.array(chosen)).save(temporary / "support.npy")
        tower = temporary / "semantics"
        classes = world / "classes.json"
        train(pack=temporary / "support.npy", classes=classes, cfg=TOWER, seed=seed, out=tower, device=device)
        for stem, levels in (("lineage", LEVELS), ("flat", LEVELS[-1:])):
            out = temporary / f"{stem}.safetensors"
            encode(classes=classes, levels=levels, backbone="small", out=out, semantics=tower)
        shutil.rmtree(tower)


# ---------------------------------------------------------------- figures of a set of pictures


def of_scope(scope: str, label: np.ndarray, rare: np.ndarray) -> np.ndarray:
    """(N,) bool. rare: classes."""
    return np.full(len(label), True) if scope == "all" else np.isin(label, rare) == (scope == "rare")


def figures(shown, real, rare: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict:
    """{"recognised" | "fd" | "kid": {scope: value}} of pictures as the judge sees them.

    Args:
        shown: Seen of generated pictures, half as many a species as of `real`; None: the other half of `real`.
        pairs: index pairs, halves of `real`; distances go to the first of each.
    """
    from taxaforge.evaluation.image_metrics import frechet_distance, kid
    from taxaforge.evaluation.metrics import recall

    out: dict = {"recognised": {}, "fd": {}, "kid": {}}
    for scope in SCOPES:
        everyone = real if shown is None else shown
        mine = everyone.where(of_scope(scope, everyone.label, rare))
        named = np.where(mine.scores["recognised"], mine.label, -1)
        out["recognised"][scope] = float(np.mean(list(recall(mine.label, named).values())))
        values = []
        for a, b in pairs:
            first = real.feature[a][of_scope(scope, real.label[a], rare)]
            other = real.feature[b][of_scope(scope, real.label[b], rare)] if shown is None else mine.feature
            values.append((frechet_distance(first, other), kid(first, other)))
        out["fd"][scope], out["kid"][scope] = (float(v) for v in np.mean(values, axis=0))
    return out


def seen_by_judge(world: Path, pack: Pack, device: str = "cpu"):
    from taxaforge.classification.predict import load
    from taxaforge.evaluation.extractors import of_classifier, see

    return see(of_classifier(load(world / "judge.safetensors", device)), pack)


def halvings(real) -> list[tuple[np.ndarray, np.ndarray]]:
    from taxaforge.evaluation.seen import halves

    return [halves(real, seed_of("halves", i)) for i in range(SPLITS)]


def real_against_real(world: Path, rare: list[str]) -> dict:
    held_out = Pack.load(world / "held_out.npy")
    real = seen_by_judge(world, held_out)
    numbers = np.array([held_out.classes.index(name) for name in rare])
    return figures(None, real, numbers, halvings(real))
