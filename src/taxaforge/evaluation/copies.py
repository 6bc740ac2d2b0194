"""The memorisation audit of every method: packs in, tables and the sheet of the worst pairs out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taxaforge import tables
from taxaforge.errors import TaxaforgeError
from taxaforge.evaluation.alterations import altered
from taxaforge.evaluation.audit_schema import COPIES, MEMORISATION
from taxaforge.evaluation.likeness import nearest, paired, planes
from taxaforge.evaluation.memorisation import Scale, Scored, judge, marks, scale_of
from taxaforge.evaluation.pair_sheet import Pair, pair_sheet
from taxaforge.guidance.schema import IMAGES as SYNTHETIC
from taxaforge.packs import Pack
from taxaforge.progress import Progress
from taxaforge.seeds import seed_of

WORST = 50
CONTROLS = 30
"""Training images a species that are copied on purpose."""


@dataclass(frozen=True)
class Training:
    """Training images in the form in which they are compared. group: (n,) number of the observation group."""

    pack: Pack
    planes: np.ndarray
    group: np.ndarray
    rival: np.ndarray

    def of(self, label: int) -> np.ndarray:
        """Images of a species; all, where it has none, since a generator can only copy what it has seen."""
        own = np.flatnonzero(self.pack.label == label)
        return own if len(own) else np.arange(len(self.pack))


def audit_copies(
    *,
    train: str | Path,
    held_out: Sequence[str | Path],
    kept: Mapping[str, str | Path],
    metadata: Mapping[str, str | Path],
    cfg: dict,
    seed: int,
    out: str | Path,
    out_copies: str | Path,
    out_sheet: str | Path,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
) -> None:
    """Write MEMORISATION, COPIES and the sheet of the WORST most similar pairs.

    Args:
        train: pack of what the generator learned from. held_out: packs of real images that it did not see.
        kept, metadata: method -> pack of its kept images, and its table, which says what each started from.
        cfg: replicas (share that is let pass), false_alarms. seed: of copies made on purpose and of the bootstrap.
    Raises: TaxaforgeError where packs list different species.
    """
    training = _training(Pack.load(train))
    real = _held_out([Pack.load(path) for path in held_out], training)
    classes = training.pack.classes
    references = np.bincount(training.pack.label, minlength=len(classes))
    compared = np.where(references > 0, references, references.sum())
    scale = scale_of(compared, real, _control(training, seed), cfg["false_alarms"])
    rows, copies, worst = [], [], []
    progress = Progress("looking for copies", len(kept), "methods")
    for number, method in enumerate(kept, 1):
        pack = Pack.load(kept[method])
        source = {row["identifier"]: row["source"] for row in tables.read(SYNTHETIC, metadata[method])}
        found, which = _compare(pack, training, [source.get(name) for name in pack.identifier])
        judged = judge(
            found,
            real,
            references,
            scale,
            classes,
            cfg["replicas"],
            cfg["false_alarms"],
            seed_of(seed, "excess", method),
        )
        rows += [{"method": method} | row for row in judged]
        own = _rows(method, pack, training, found, which, scale, source)
        copies += own
        worst += sorted(zip(own, range(len(own)), which, strict=True), key=_most_alike)[:WORST]
        log(None, {f"replicas/{method}": judged[0]["replicas"]})
        progress(number)
    tables.write(MEMORISATION, rows, out)
    tables.write(COPIES, copies, out_copies)
    packs = {method: Pack.load(path) for method, path in kept.items()}
    worst = sorted(worst, key=_most_alike)[:WORST]
    pairs = [
        Pair(packs[row["method"]].pixels[place], training.pack.pixels[near], _caption(row), row["replica"])
        for row, place, near in worst
        if near >= 0
    ]
    title = f"The {len(pairs)} generated images (left) most like a training image (right); framed: counted as copies"
    pair_sheet(pairs, title, out_sheet)


def _training(pack: Pack) -> Training:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(pack.group))}
    group = np.array([numbers[name] for name in pack.group], dtype=np.int64)
    shown, rival = planes(pack.pixels), np.full(len(pack), -1.0)
    for c in np.unique(pack.label):
        mine = np.flatnonzero(pack.label == c)
        rival[mine] = nearest(shown[mine], shown[mine], (mine, mine)).score
    return Training(pack, shown, group, rival)


def _held_out(packs: Sequence[Pack], training: Training) -> Scored:
    """Real images of groups that no training image is of."""
    seen, parts, groups = set(training.pack.group), [], []
    for pack in packs:
        if pack.classes != training.pack.classes:
            raise TaxaforgeError("The packs list different species. Delete results/collection/packs and run again.")
        other = np.array([i for i, group in enumerate(pack.group) if group not in seen], dtype=int)
        found, _ = _against(planes(pack.pixels[other]), pack.label[other], training)
        parts.append(found)
        groups += [pack.group[i] for i in other]
    columns = ("score", "label", "rival", "retained")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}
    return Scored(cluster=np.array(groups, dtype=object), **joined)


def _control(training: Training, seed: int) -> Scored:
    """Copies of training images, made on purpose."""
    some = [
        int(i)
        for c in np.unique(training.pack.label)
        for i in sorted(training.of(c), key=lambda i: seed_of(seed, "control", training.pack.identifier[i]))[:CONTROLS]
    ]
    made = altered(training.pack.pixels[some], [training.pack.identifier[i] for i in some], seed)
    return _against(planes(made), training.pack.label[some], training)[0]


def _compare(pack: Pack, training: Training, sources: Sequence[str | None]) -> tuple[Scored, np.ndarray]:
    """A method's images and the training image nearest to each.

    What an image started from is left out with its whole observation group, and compared apart.
    """
    place = {name: i for i, name in enumerate(training.pack.identifier)}
    start = np.array([place.get(source, -1) for source in sources], dtype=int)
    shown = planes(pack.pixels)
    own = np.where(start >= 0, training.group[start], -1)
    found, which = _against(shown, pack.label, training, own)
    started = start >= 0
    found.retained[started] = paired(shown[started], training.planes[start[started]])
    return found, which


def _against(
    shown: np.ndarray, label: np.ndarray, training: Training, own: np.ndarray | None = None
) -> tuple[Scored, np.ndarray]:
    """Likeness of images to the training images `Training.of` their species, and which is the nearest, -1 where none is.

    own: (n,) group of training images that each is not compared with, -1 for none.
    """
    n = len(label)
    score, which, rival = np.full(n, -1.0), np.full(n, -1), np.full(n, -1.0)
    for c in np.unique(label):
        mine, theirs = np.flatnonzero(label == c), training.of(c)
        apart = None if own is None else (own[mine], training.group[theirs])
        found = nearest(shown[mine], training.planes[theirs], apart)
        some = found.which >= 0
        score[mine] = found.score
        which[mine[some]] = theirs[found.which[some]]
        rival[mine[some]] = training.rival[which[mine[some]]]
    return Scored(score, np.asarray(label), which, rival, np.full(n, np.nan)), which


def _rows(
    method: str,
    pack: Pack,
    training: Training,
    found: Scored,
    which: np.ndarray,
    scale: Scale | None,
    source: Mapping[str, str | None],
) -> list[dict]:
    """Rows of COPIES."""
    p, replica = marks(found, scale) if scale else (np.full(len(pack), np.nan), np.zeros(len(pack), bool))
    return [
        {
            "identifier": name,
            "method": method,
            "scientificName": pack.classes[pack.label[i]],
            "nearest": training.pack.identifier[which[i]] if which[i] >= 0 else None,
            "likeness": float(found.score[i]) if which[i] >= 0 else None,
            "p": None if np.isnan(p[i]) else float(p[i]),
            "replica": bool(replica[i]),
            "source": source.get(name),
            "retained": None if np.isnan(found.retained[i]) else float(found.retained[i]),
        }
        for i, name in enumerate(pack.identifier)
    ]


def _most_alike(entry: tuple) -> tuple:
    row = entry[0]
    return -(row["likeness"] if row["likeness"] is not None else -2.0), row["identifier"]


def _caption(row: Mapping) -> list[str]:
    p = "not assessed" if row["p"] is None else f"p {row['p']:.3f}"
    return [
        f"{row['method']}: {row['scientificName']}",
        f"likeness {row['likeness']:.3f}, {p}",
        f"beside {row['nearest']}",
    ]
