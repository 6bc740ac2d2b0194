"""Are a method's images copies of training images? Judged against held-out real images, which cannot be.

    score(g)    likeness of an image to the most similar training image of its species, or of all where it has none
    null        score of held-out real images of other observation groups, against the same training images
    p(g)        conformal p of the score; species are made alike by taking off the median of their null
    control     score of training images mirrored, cropped and compressed: what a copy looks like
    replica     an image above the whole null and above the 5th percentile of the control
    excess      share of images with p <= 0.01, minus 0.01

It fails where replicas are more than a given share and more than chance explains (as many at the top of images and
null, or so far above the null), or where there is a replica and the excess is above zero. Real photographs have
copies, too: held-out images that stand out of the null as only copies do are counted and left out of it. Rules and
reasons: docs/audits.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from taxaforge.evaluation.chance import all_largest, bound, excess, p_values, z_of

FEWEST = 5
"""Training images and held-out images of a species from which on it is assessed."""
LEVEL = 0.01
SEEN = 0.5
"""Share of the control that must be found, and of the images that must be looked at, for a clean result to mean anything."""
PASSED, FAILED, OPEN = "passed", "failed", "not assessable"


@dataclass(frozen=True)
class Scored:
    """Images with their likeness to training images.

    score: (n,) -1..1, to the most similar one of the species. label: (n,). cluster: (n,) what is not independent:
    observation groups of real images, the training image that a generated one is most like. rival: (n,) likeness of
    that training image to its own nearest. retained: (n,) likeness to its own source, NaN where it has none.
    """

    score: np.ndarray
    label: np.ndarray
    cluster: np.ndarray
    rival: np.ndarray
    retained: np.ndarray

    def where(self, mask: np.ndarray) -> "Scored":
        return Scored(self.score[mask], self.label[mask], self.cluster[mask], self.rival[mask], self.retained[mask])


@dataclass(frozen=True)
class Scale:
    """What is needed to judge images of the assessed species; all z, species medians taken off.

    middle: label -> median z of its null. null: (m,) z of held-out images, copies left out, null_cluster: (m,), label:
    (m,). control: z of the least copy that counts, 5th percentile. copies: label -> held-out images that were left out.
    found: label -> share of the control that would be called replicas.
    """

    middle: dict[int, float]
    null: np.ndarray
    null_cluster: np.ndarray
    null_label: np.ndarray
    control: float
    copies: dict[int, int]
    found: dict[int, float]

    def limit(self, label: int) -> float:
        """z above which an image of a species is a replica."""
        return max(self.middle[label] + float(self.null.max()), self.control)


def scale_of(references: np.ndarray, held_out: Scored, control: Scored, false_alarms: float) -> Scale | None:
    """How the scores of honest images lie; None where no species can be assessed.

    Args:
        references: (classes,) training images that images of each are compared with. control: copies of training images.
    """
    counts = np.bincount(held_out.label, minlength=len(references))
    fit = [c for c in range(len(references)) if references[c] >= FEWEST and counts[c] >= FEWEST]
    null, made = held_out.where(np.isin(held_out.label, fit)), control.where(np.isin(control.label, fit))
    made = made if len(made.score) else control  # all that can be assessed are species without training images
    if not fit or not len(made.score):
        return None
    z = z_of(null.score)
    middle = {c: float(np.median(z[null.label == c])) for c in fit}
    centred = z - np.array([middle[c] for c in null.label])
    least = float(np.quantile(z_of(made.score), 0.05))
    copy = (centred > bound(centred, len(centred), false_alarms)) & (z > least)
    copies = {c: int((copy & (null.label == c)).sum()) for c in fit}
    scale = Scale(middle, centred[~copy], null.cluster[~copy], null.label[~copy], least, copies, {})
    for c in fit:
        mine = (
            made.label == c
        )  # a species without training images has no copies of its own: those of all stand for them
        scale.found[c] = float((z_of(made.score)[mine if mine.any() else ...] > scale.limit(c)).mean())
    return scale


def marks(images: Scored, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    """(p (n,), replica (n,) bool) of images of assessed species; p is NaN for the others."""
    p, replica = np.full(len(images.score), np.nan), np.zeros(len(images.score), bool)
    known = np.isin(images.label, list(scale.middle))
    z, label = z_of(images.score[known]), images.label[known]
    p[known] = p_values(z - np.array([scale.middle[c] for c in label]), scale.null)
    replica[known] = z > np.array([scale.limit(c) for c in label])
    return p, replica


def judge(
    images: Scored,
    held_out: Scored,
    references: np.ndarray,
    scale: Scale | None,
    species: Sequence[str],
    most: float,
    false_alarms: float,
    seed: int,
) -> list[dict]:
    """Rows of MEMORISATION without the method: all species together first, then each.

    Args: references: (classes,) training images of each. most: share of replicas that is let pass.
    """
    rows = []
    for c in (None, *range(len(species))):
        mine, real = (s if c is None else s.where(s.label == c) for s in (images, held_out))
        fit = [] if scale is None else [k for k in scale.middle if c in (None, k)]
        row = {
            "scope": "all" if c is None else species[c],
            "images": len(mine.score),
            "references": int(references.sum() if c is None else references[c]),
            "held_out": len(real.score),
            "held_out_copies": sum(scale.copies[k] for k in fit) if scale else 0,
            "likeness": _median(mine.score),
            "likeness_real": _median(real.score),
            "retained": _median(mine.retained),
            "authentic": _share(mine.score < mine.rival),
            "authentic_real": _share(real.score < real.rival),
        }
        row |= _outcome(mine, fit, scale, species, most, false_alarms, seed, c is None)
        if not references.sum() or not row["held_out"]:  # nothing to compare with must not look like a pass
            row |= {
                "outcome": FAILED if c is None else OPEN,
                "reason": "no training or no held-out images to compare with",
            }
        rows.append(row)
    return rows


def _outcome(
    images: Scored,
    fit: list[int],
    scale: Scale | None,
    species: Sequence[str],
    most: float,
    false_alarms: float,
    seed: int,
    whole: bool,
) -> dict:
    """The columns that take a null, the outcome and the reason."""
    total, images = len(images.score), images.where(np.isin(images.label, fit))
    n, empty = len(images.score), dict.fromkeys(("limit", "share", "excess", "excess_low", "excess_high", "found"))
    if not n:
        reason = "none of its images is of a species that can be assessed" if total else "no images"
        reason = reason if fit else f"fewer than {FEWEST} training or held-out images to compare with"
        return {**empty, "assessed": 0, "replicas": 0, "outcome": OPEN, "reason": reason}
    z = z_of(images.score) - np.array([scale.middle[c] for c in images.label])
    marked = marks(images, scale)[1]
    replicas = int(marked.sum())
    value, low, high = excess(z, images.cluster, scale.null, scale.null_cluster, LEVEL, seed)
    found = [scale.found[c] for c in fit if c in scale.found]
    seen = float(np.mean(found)) if found else 0.0
    certain = int((marked & (z > bound(scale.null, n, false_alarms))).sum())
    chance = all_largest(replicas, n, len(scale.null))
    many = certain > most * n or (replicas > most * n and chance <= false_alarms)
    counted = f"{replicas} of {n} images are copies of training images"
    if many or (low > 0 and replicas):
        outcome, reason = FAILED, counted
    elif seen < SEEN:
        outcome = OPEN
        reason = f"of copies made on purpose only {seen:.0%} are told from other images of the species"
    elif n < SEEN * total:
        outcome = OPEN
        reason = f"only {n} of {total} images are of species with enough real images to compare with"
    else:
        outcome, reason = PASSED, counted
    absent = len(species) - len(scale.middle)
    if whole and absent:
        reason += f"; {absent} of {len(species)} species have too few real images for theirs to be assessed"
    return {
        "limit": float(np.tanh(np.median([scale.limit(c) for c in fit]))),
        "share": replicas / n,
        "excess": value,
        "excess_low": low,
        "excess_high": high,
        "found": seen,
        "assessed": n,
        "replicas": replicas,
        "outcome": outcome,
        "reason": reason,
    }


def _median(values: np.ndarray) -> float | None:
    values = values[~np.isnan(values)]
    return float(np.median(values)) if len(values) else None


def _share(hits: np.ndarray) -> float | None:
    return float(hits.mean()) if len(hits) else None
