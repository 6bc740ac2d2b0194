"""Zero-shot scores: how well species without training images are named, and at what price for the others.

The handicap of the seen species, lambda, is chosen on validation images, where trial species, held back from
training as well, play unseen; test images are only counted with it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from taxaforge import tables
from taxaforge.collection.roles import Misplaced, held_apart
from taxaforge.errors import TaxaforgeError
from taxaforge.evaluation import predictions as reading
from taxaforge.evaluation.schema import PREDICTIONS
from taxaforge.evaluation.stacking import (
    Contest,
    area,
    chosen,
    contest,
    curve,
    harmonic,
    rates,
    t1,
    weights,
)
from taxaforge.files import read_json
from taxaforge.seeds import seed_of
from taxaforge.tables import Column, Schema

DRAWS = 1000
METRICS = ("T1", "U", "S", "H", "AUSUC")

ZERO_SHOT = Schema(
    "zero shot",
    ("arm", "seed", "metric"),
    {
        "arm": Column("string", "training set of the classifier"),
        "seed": Column("string", '"0", "1"... or "mean"'),
        "metric": Column(
            "string",
            "T1: accuracy on unseen species' images among unseen species alone; U, S: accuracy on unseen and on seen "
            "species' images among both, at lambda; H: 2US/(U+S); AUSUC: area under S over U at every lambda; lambda: "
            "handicap of the seen species, chosen on validation. Accuracies are means over species",
        ),
        "value": Column("float64", "0..1; lambda -1..1"),
        "low": Column("float64", "1 - alpha interval; none for lambda", nullable=True),
        "high": Column("float64", "1 - alpha interval; none for lambda", nullable=True),
        "n": Column("int64", "images behind the value: test, for lambda validation"),
    },
)
ZERO_SHOT_CURVE = Schema(
    "zero-shot curve",
    ("arm", "seed", "lambda"),
    {
        "arm": Column("string", "training set of the classifier"),
        "seed": Column("string", '"0", "1"...'),
        "lambda": Column(
            "float64", "-1 (every image named seen) to 1 (every one unseen); a row wherever u or s changes, and 0"
        ),
        "u": Column("float64", "mean accuracy over unseen species, 0..1"),
        "s": Column("float64", "mean accuracy over seen species, 0..1"),
    },
)


def score_zero_shot(
    *,
    predictions: Sequence[tuple[str, int | str, str | Path]],
    validation_predictions: Sequence[tuple[str, int | str, str | Path]],
    roles: str | Path,
    classes: str | Path,
    train: str | Path,
    cfg: Mapping,
    out: str | Path,
    out_curve: str | Path,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
) -> None:
    """Write ZERO_SHOT and ZERO_SHOT_CURVE.

    On test images seen and unseen species compete, on validation images seen and trial ones; the others' shares
    are left out. Every arm and seed has a handicap of its own. Row "mean" is the mean over seeds.

    Args:
        predictions, validation_predictions: [arm, seed, path] triples of PREDICTIONS, the same arms and seeds.
        roles: roles.json of the split. train: the .json of the training pack, of which no image may be of a
            species that is held back. cfg: alpha; seed, of the run, for the bootstrap.
    Raises: TaxaforgeError where no species is unseen or on trial, Misplaced where an image lies where
        its species' role forbids it, or in two of train, validation and test.
    """
    species = [record["species"] for record in read_json(classes)]
    role_of = read_json(roles)
    role = np.array([role_of[name] for name in species])
    seen, trial, unseen = (role == name for name in ("seen", "trial", "unseen"))
    if not (unseen.any() and trial.any()):
        raise TaxaforgeError(
            f"{roles} has {unseen.sum()} unseen and {trial.sum()} trial species, so there is nothing to score without "
            "training images. Set protocol.kind to 'zero_shot'."
        )
    check_apart(role_of, train, validation_predictions[0][2], predictions[0][2])
    test, validation = reading.read(predictions, species), reading.read(validation_predictions, species)
    for part, found, sides in (
        ("test", test, {"unseen": unseen, "seen": seen}),
        ("validation", validation, {"trial": trial, "seen": seen}),
    ):
        for name, side in sides.items():
            if not side[found.label].any():
                raise TaxaforgeError(
                    f"No {part} image shows a species that is {name}. Raise split.{part} or add images."
                )
    if list(test.probability) != list(validation.probability):
        raise TaxaforgeError("Test and validation were not predicted by the same classifiers. Run both again.")

    rows, points = [], []
    for arm in test.arms:
        values, spread = [], []
        for seed in test.seeds(arm):
            calibration = contest(validation.probability[arm, seed], validation.label, seen, trial)
            handicap = chosen(curve(calibration, weights(calibration)))
            found = contest(test.probability[arm, seed], test.label, seen, unseen)
            line = curve(found, weights(found))
            points += [
                {"arm": arm, "seed": seed, "lambda": float(at), "u": float(u), "s": float(s)}
                for at, u, s in zip(line.handicap, line.u, line.s, strict=True)
            ]
            values.append(np.append(measured(found, handicap), handicap))
            again = [measured(found, handicap, count) for count in draws(test.group, cfg["seed"])]
            spread.append(np.array(again).reshape(-1, len(METRICS)))
            rows += _rows(arm, seed, values[-1], spread[-1], found, len(validation.label), cfg["alpha"])
        mean = np.mean(values, axis=0)
        rows += _rows(arm, "mean", mean, over_seeds(spread, cfg["seed"]), found, len(validation.label), cfg["alpha"])
        log(None, {f"{name}/{arm}": float(v) for name, v in zip((*METRICS, "lambda"), mean, strict=True)})
    tables.write(ZERO_SHOT, rows, out)
    tables.write(ZERO_SHOT_CURVE, points, out_curve)


def check_apart(roles: Mapping[str, str], train: str | Path, validation: str | Path, test: str | Path) -> None:
    """Raises where a held back species is in a split that its role forbids, or an image is in two of them."""
    pack = read_json(train)
    shown = (pack["classes"][label] for label in pack["label"])
    parts = {"train": list(zip(pack["identifier"], shown, strict=True))}
    for part, path in (("validation", validation), ("test", test)):
        parts[part] = [(row["identifier"], row["true"]) for row in tables.read(PREDICTIONS, path)]
    held_apart(((image, name, part) for part, images in parts.items() for image, name in images), roles)
    where: dict[str, str] = {}
    for part, images in parts.items():
        for image, _ in images:
            if where.setdefault(image, part) != part:
                raise Misplaced(
                    f"{image!r} lies in {where[image]!r} and in {part!r}. Remake results/collection/packs and all that follows."
                )


def measured(found: Contest, handicap: float, count: np.ndarray | None = None) -> np.ndarray:
    """(5,) values of METRICS at a handicap. count: (N,) how often each image was drawn; None: once."""
    weight = weights(found, count)
    u, s = rates(found, handicap, weight)
    return np.array([t1(found, weight), u, s, float(harmonic(u, s)), area(curve(found, weight))])


def draws(group: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """DRAWS times (N,): how often each image is drawn when observation groups are drawn with replacement.

    None where there is one group. The same for all arms and seeds, so that they stay comparable.
    """
    names, place = np.unique(group, return_inverse=True)
    rng = np.random.default_rng(seed_of(seed, "zero shot", "groups"))
    for _ in range(DRAWS if len(names) > 1 else 0):
        yield rng.multinomial(len(names), np.full(len(names), 1 / len(names)))[place]


def over_seeds(spread: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """(draws, metrics) means over seeds drawn with replacement, each draw of groups with its own draw of seeds.

    spread: one (draws, metrics) a seed. With few seeds the interval is somewhat too narrow.
    """
    values = np.stack(spread)
    rng = np.random.default_rng(seed_of(seed, "zero shot", "seeds"))
    picked = rng.integers(0, len(values), (len(values), values.shape[1]))
    return np.take_along_axis(values, picked[:, :, None], axis=0).mean(0)


def _rows(
    arm: str, seed: str, values: np.ndarray, spread: np.ndarray, found: Contest, images: int, alpha: float
) -> list[dict]:
    """Rows of ZERO_SHOT. values: METRICS and lambda. spread: (draws, 5), empty where no interval is known."""
    known = len(spread) > 0
    low, high = np.quantile(spread, [alpha / 2, 1 - alpha / 2], axis=0) if known else (None, None)
    hidden, total = int(found.unseen.sum()), len(found.unseen)
    n = dict(zip(METRICS, (hidden, hidden, total - hidden, total, total), strict=True))
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "metric": name,
            "value": float(values[i]),
            "low": float(low[i]) if known else None,
            "high": float(high[i]) if known else None,
            "n": n[name],
        }
        for i, name in enumerate(METRICS)
    ]
    own = {"metric": "lambda", "value": float(values[-1]), "low": None, "high": None, "n": images}
    return [*rows, {"arm": arm, "seed": seed, **own}]
