"""A small made-up run on disk: every table and pack that the report reads, of any size."""

from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from taxaforge import tables
from taxaforge.collection.schema import REJECTIONS, SPLITS
from taxaforge.evaluation.schema import ACCURACY, COMPARISONS, COST, IMAGES, PREDICTIONS, VERDICT
from taxaforge.files import write_json, write_lines
from taxaforge.packs import Pack
from taxaforge.seeds import seed_of
from taxaforge.taxonomy.schema import REVIEW, TAXA

SPECIES = [
    ("Coleoptera", "Coccinellidae", "Coccinella", "Coccinella septempunctata", "Seven-spot ladybird"),
    ("Lepidoptera", "Nymphalidae", "Aglais", "Aglais io", "Peacock"),
    ("Lepidoptera", "Nymphalidae", "Aglais", "Aglais urticae", "Small tortoiseshell"),
    ("Lepidoptera", "Nymphalidae", "Vanessa", "Vanessa atalanta", "Red admiral"),
    ("Lepidoptera", "Papilionidae", "Papilio", "Papilio machaon", None),
    ("Lepidoptera", "Pieridae", "Pieris", "Pieris brassicae", "Large white"),
    ("Lepidoptera", "Pieridae", "Pieris", "Pieris rapae", "Small white"),
    ("Odonata", "Calopterygidae", "Calopteryx", "Calopteryx virgo", "Beautiful demoiselle"),
]
PARTS = {"0-249": 0.62, "250-499": 0.14, "500-749": 0.05, "750-999": 0.018}
VERDICTS = ("do not use", "inconclusive", "adopt")
BETTER_HIGH = ("recognised", "precision", "recall", "density", "coverage")


def full_row(schema, **values):
    """A row with every column of the schema: the given values, neutral ones elsewhere."""
    neutral = {"string": "", "int64": 0, "float64": 0.0, "bool": False, "list<double>": []}
    empty = {name: None if column.nullable else neutral[column.type] for name, column in schema.columns.items()}
    return {**empty, **values}


def history(stage: str, steps: int, levels=(), batch: int = 32, validate_every: int = 100) -> list[dict]:
    """Lines such as training writes them: a fall from 1 to about 0.2, noise of small batches, part 0-249 the hardest."""
    rng = np.random.default_rng(seed_of(0, stage, steps))
    every, lines = max(1, steps // 100), []
    for step in (k for k in range(1, steps + 1) if k % every == 0 or k == steps):
        fallen = 0.75 * np.exp(-step / 90) if stage == "base" else 0.02 * np.exp(-step / 10)
        parts = {
            part: (share + fallen) * rng.lognormal(0, 0.12) for part, share in PARTS.items() if rng.random() > 0.02
        }
        loss = float(np.mean(list(parts.values())))
        line = {"step": step, "images": step * batch, "loss": loss, "learning_rate": 2e-3, "seconds": step * 0.11}
        line |= {"images_per_second": 280 + 20 * rng.random(), "memory_mib": 912.4, "loss_by_time": parts}
        line["loss_by_level"] = {level: loss * rng.lognormal(0, 0.05) for level in (*levels, "null")}
        if step % validate_every == 0 or step == steps:
            line["validation_loss"] = 0.207 + fallen + 0.02 * step / steps
        lines.append(line)
    return lines


def sample_grid(path: Path, species: int, learned: float, side: int = 64, columns: int = 4) -> None:
    """Pictures of an ellipse, a size and colour a species, that come out of the same noise as `learned` goes to 1."""
    rows = min(species, 12)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    picture = np.zeros((rows, side, columns, side, 3))
    for row in range(rows):
        rng = np.random.default_rng(row)
        colour, ground, width = rng.integers(20, 235, 3), rng.integers(60, 200, 3), rng.uniform(0.3, 0.9)
        for column in range(columns):
            inside = (x / width) ** 2 + ((y - 0.1 * column) / 0.5) ** 2 < 1
            target = np.where(inside[..., None], colour, ground)
            noise = rng.integers(0, 256, (8, 8, 3)).repeat(side // 8, 0).repeat(side // 8, 1)
            picture[row, :, column] = target * learned + noise * (1 - learned)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.reshape(rows * side, columns * side, 3).astype(np.uint8)).save(path)


def build(tmp_path, species=8, methods=("cfg", "taxadiffusion"), seeds=3, name=None, verdicts=VERDICTS):
    rng = np.random.default_rng(1)
    records = [
        {"kingdom": "Animalia", "phylum": "Arthropoda", "class": "Insecta", "order": o, "family": f, "genus": g}
        | {"species": name or s, "taxonID": f"col_xr:{i}", "vernacularName": v}
        for i, (o, f, g, s, v) in enumerate(SPECIES[:species])
    ]
    names = [record["species"] for record in records]
    w = SimpleNamespace(root=tmp_path, names=names, methods=list(methods))
    w.classes, w.taxa = tmp_path / "classes.json", tmp_path / "taxa.parquet"
    write_json(w.classes, records)
    taxa = [
        full_row(TAXA, row=i + 1, verbatimName=r["species"], status="exact_accepted", label=True, source="snapshot")
        | {rank: r[rank] for rank in ("kingdom", "phylum", "class", "order", "family", "genus", "species")}
        | {"scientificName": r["species"], "taxonRank": "species", "taxonID": r["taxonID"], "reason": "found"}
        for i, r in enumerate(records)
    ]
    if taxa:
        taxa[0] |= {"verbatimName": "Coccinella 7-punctata", "status": "exact_synonym"}
    tables.write(TAXA, taxa, w.taxa)
    w.review = tmp_path / "review.csv"
    unresolved = full_row(REVIEW, row=99, verbatimName="Nonsensia nulla", status="no_match", reason="Not found.")
    tables.write(REVIEW, [unresolved], w.review)
    w.splits = tmp_path / "splits.parquet"
    sizes = {"train": 12, "validation": 5, "test": 20, "reserve": 30, "unused": 3}
    tables.write(
        SPLITS,
        [
            {"identifier": f"{s}{split}{k}", "split": split, "group": "g", "scientificName": s}
            for s in names
            for split, n in sizes.items()
            for k in range(n)
        ],
        w.splits,
    )
    w.rejections, w.ledger = tmp_path / "rejections.csv", tmp_path / "ledger.json"
    rejected = [full_row(REJECTIONS, identifier=f"r{k}", scientificName=names[0], reason="min_side") for k in range(4)]
    tables.write(REJECTIONS, rejected if names else [], w.rejections)
    write_json(w.ledger, {"in": 70 * len(names) + 4, "kept": 70 * len(names), "rejected": {"min_side": 4}})

    def pack(path, each, brightness):
        label = np.repeat(np.arange(len(names)), each)
        base = rng.integers(40, 215, (max(len(names), 1), 1, 1, 3))
        pixels = base[label] + rng.normal(0, 30, (len(label), 32, 32, 3)) + brightness
        ids = [f"{path.stem}-{i:04d}" for i in range(len(label))]
        blank = [""] * len(label)
        Pack(pixels.clip(0, 255).astype(np.uint8), names, ids, label, blank, blank).save(path)
        return path

    w.train = pack(tmp_path / "train.npy", 12, 0)
    w.kept = {m: pack(tmp_path / f"{m}.npy", 5 - i, 20) for i, m in enumerate(methods)}
    w.histories, w.stages = {}, ("base", "order", "family", "genus", "species")
    for place, stage in enumerate(w.stages):
        w.histories[stage] = tmp_path / stage / "history.jsonl"
        write_lines(w.histories[stage], history(stage, 30 if place else 1000, w.stages[1 : place + 1]))
        for step in (30,) if place else (250, 500, 750, 1000):
            sample_grid(
                tmp_path / stage / f"samples/step-{step:06d}.png",
                len(names),
                0.7 * step / 1000 if not place else 0.7 + 0.07 * place,
            )
    rows = []
    for method in ("real", *methods):
        for scope in ("all", *names):
            for metric in ("recognised", "nearest_train", "vendi", "fd", "kid", "precision", "recall", "density"):
                worse = 0 if method == "real" else (-0.1 if metric in BETTER_HIGH else 0.1)
                around = lambda middle: {"value": middle, "low": middle - 0.04, "high": middle + 0.04}  # noqa: E731
                floor = {"floor": 0.8, "floor_low": 0.74, "floor_high": 0.86}
                known = {
                    "method": method,
                    "features": "judge",
                    "scope": scope,
                    "metric": metric,
                    "n": 40,
                    "independent": True,
                }
                rows.append(known | around(0.8 + worse) | floor)
    w.images = tmp_path / "images.csv"
    tables.write(IMAGES, rows, w.images)
    arms = ["real", "real-equal-steps", *(f"real+{m}" for m in methods)] if names else []
    w.accuracy, accuracy = tmp_path / "accuracy.csv", []
    for place, arm in enumerate(arms):
        for metric, value in (
            ("macro_top1", 0.6),
            ("micro_top1", 0.61),
            ("macro_f1", 0.59),
            ("nll", 1.2),
            ("ece", 0.08),
        ):
            for seed in ("mean", *map(str, range(seeds))):
                v = value + 0.02 * place + (0 if seed == "mean" else 0.02 * (int(seed) - 1))
                low, high = (v - 0.04, v + 0.04) if seed == "mean" else (None, None)
                cell = {"arm": arm, "seed": seed, "scope": "all", "metric": metric, "value": v}
                accuracy.append(full_row(ACCURACY, **cell, low=low, high=high, n=160))
    tables.write(ACCURACY, accuracy, w.accuracy)
    w.comparisons, compared = tmp_path / "comparisons.csv", []
    for i, method in enumerate(methods):
        for control in ("real", "real-equal-steps"):
            for j, scope in enumerate(["all", *(f"species:{s}" for s in names)]):
                d = 1.5 * i - 0.6 + (0 if scope == "all" else 3 * np.sin(j + i))
                half = 1.2 if scope == "all" else 5.0
                cell = {
                    "method": method,
                    "arm": f"real+{method}",
                    "control": control,
                    "scope": scope,
                    "seeds": seeds,
                }
                values = {"difference_points": d, "low_points": d - half, "high_points": d + half, "p": 0.2}
                compared.append(full_row(COMPARISONS, **cell, **values, p_holm=0.4, images=160, df=5.0))
    tables.write(COMPARISONS, compared, w.comparisons)
    w.verdict, decided = tmp_path / "verdict.csv", []
    for i, method in enumerate(methods):
        for scope in ["all", *(f"species:{s}" for s in names)]:
            decided.append(
                full_row(
                    VERDICT,
                    method=method,
                    evidence="code",
                    scope=scope,
                    verdict=verdicts[i % len(verdicts)],
                    reason=f"{scope}: the reason in one sentence.",
                    control="real",
                    difference_points=-0.6,
                    low_points=-1.8,
                    high_points=0.6,
                    missing_controls="balanced; random-drop",
                    seeds_needed=9,
                    recognised=0.7,
                    recognised_real=0.8,
                )
            )
    tables.write(VERDICT, decided, w.verdict)
    w.cost = tmp_path / "cost.csv"
    took = [("arm", arm, 90.0 + 200 * ("+" in arm)) for arm in arms]
    took += [("rule", r, s) for r, s in (("train_stage", 300), ("train_classifier", 240), ("generate_shard", 60))]
    took += [("total", "total", 620.0)]
    tables.write(
        COST,
        [
            full_row(COST, level=l, name=n, jobs=3, wall_s=float(s), cpu_s=float(s), peak_mib=900.0)
            for l, n, s in took  # noqa: E741
        ],
        w.cost,
    )
    w.predictions = []
    for arm in arms:
        for seed in range(seeds):
            path = tmp_path / f"{arm}-{seed}.parquet"
            true = np.repeat(np.arange(len(names)), 20)
            near = np.minimum(true + 1, len(names) - 1)
            predicted = np.where(rng.random(len(true)) < 0.65, true, near)
            tables.write(
                PREDICTIONS,
                [
                    full_row(PREDICTIONS, identifier=str(k), true=names[t], predicted=names[p], probability=0.9)
                    for k, (t, p) in enumerate(zip(true, predicted, strict=True))
                ],
                path,
            )
            w.predictions.append([arm, seed, str(path)])
    w.figures, w.page = tmp_path / "figures", tmp_path / "report.html"
    w.draw_inputs = {
        key: getattr(w, key)
        for key in ("classes", "splits", "train", "histories", "kept", "images", "accuracy", "comparisons", "cost", "predictions")
    }  # fmt: skip
    w.page_inputs = {
        key: getattr(w, key)
        for key in ("figures", "verdict", "images", "accuracy", "comparisons", "cost", "taxa", "review", "rejections", "ledger", "splits")
    }  # fmt: skip
    w.settings = {
        "run": {"name": "eight insects", "seed": 7},
        "collection": {"source": "simulated"},
        "evaluation": {"delta_points": 1.0, "alpha": 0.05},
        "classification": {"seeds": seeds, "model": "resnet10t", "arms": arms},
        "guidance": {"methods": list(methods), "images_per_species": 24, "cfg": {"scale": 2.0}},
    }
    w.provenance = {"commit": "abc1234", "key": "0123456789ab", "seed": 7, "version": "0.1.0"}
    return w


@pytest.fixture
def world(tmp_path):
    """Builds a run of the given size in the test's own folder."""
    return partial(build, tmp_path)


@pytest.fixture(scope="session")
def shown(tmp_path_factory):
    """A run with everything drawn and written, and its `html`; one a size, shared: change nothing in it."""
    from taxaforge.report.figures_job import draw
    from taxaforge.report.page import write

    @cache
    def make(**options) -> SimpleNamespace:
        w = build(tmp_path_factory.mktemp("run"), **options)
        draw(**w.draw_inputs, cfg={"delta_points": 1.0}, out=w.figures)
        write(**w.page_inputs, settings=w.settings, provenance=w.provenance, out=w.page)
        w.html = Path(w.page).read_text("utf-8")
        return w

    return make
