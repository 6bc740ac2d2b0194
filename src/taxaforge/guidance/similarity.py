"""From how well a text fits an image to how strongly the text is followed [recon].

r~ = clip((r - low) / (high - low), 0, 1)        low, high: percentiles of r over the training split
up:        s = least + (most - least) r~          trust the text as far as it agrees with the image
down:      s = least + (most - least) (1 - r~)    push hardest where image and text disagree
constant:  s = the mean that `up` has over the training split, the control of equal mean strength
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from taxaforge.errors import TaxaforgeError

DIRECTIONS = ("up", "down", "constant")


class NotComparable(TaxaforgeError):
    """Similarities cannot be made into scales."""


@dataclass(frozen=True)
class Calibration:
    """Where similarities begin and end, and what they become.

    low, high: similarities at the percentiles. least, most: scales at these ends. mean_up: scale that `up`
    has on average over the training images.
    """

    direction: str
    low: float
    high: float
    least: float
    most: float
    mean_up: float

    def scale(self, similarity: np.ndarray) -> np.ndarray:
        """Scales (N,) in least..most of similarities (N,)."""
        share = agreement(similarity, self.low, self.high)
        if self.direction == "constant":
            return np.full_like(share, self.mean_up)
        return between(self.least, self.most, share if self.direction == "up" else 1 - share)

    def facts(self) -> dict[str, float | str]:
        """All of it as plain values."""
        return asdict(self)


def agreement(similarity: np.ndarray, low: float, high: float) -> np.ndarray:
    """r~ (N,) in 0..1: where similarities lie between `low` and `high`; all in the middle where the two are equal.

    >>> agreement(np.array([0.1, 0.25, 0.9]), 0.2, 0.4).round(3).tolist()
    [0.0, 0.25, 1.0]
    """
    similarity = np.asarray(similarity, dtype=np.float64)
    if high == low:
        return np.full_like(similarity, 0.5)
    return ((similarity - low) / (high - low)).clip(0, 1)


def between(least: float, most: float, share: np.ndarray) -> np.ndarray:
    """least at share 0, most at share 1, both exactly."""
    return (least * (1 - share) + most * share).clip(least, most)


def calibrate(
    similarity: Mapping[str, float], direction: str, least: float, most: float, percentiles: Sequence[float]
) -> Calibration:
    """How the similarities of the training images become scales; no other image may enter here.

    Args:
        similarity: cosine of image and prompt by identifier of a training image.
        direction: up, down or constant.
        least, most: the ends of the scale. percentiles: which similarities lie at these ends, 0..100.
    Raises: NotComparable: no image at all, a similarity that is no number (naming the image), ends the wrong way
    round, an unknown direction.
    """
    strange = [name for name, value in similarity.items() if not np.isfinite(value)]
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise NotComparable(
            f"The similarity of image and prompt is no number for {', '.join(strange[:3])}{more}. Look at these "
            "pictures; if nothing is wrong with them, train or choose another image-text model (section semantics)."
        )
    first, last = percentiles
    if direction not in DIRECTIONS or not 0 <= first <= last <= 100 or not least <= most:
        raise NotComparable(
            f"direction {direction!r}, percentiles {list(percentiles)}, scales {least} to {most}: wanted are one of "
            f"{', '.join(DIRECTIONS)}, percentiles 0 <= low <= high <= 100, and least_scale <= most_scale."
        )
    if not similarity:
        raise NotComparable("No training image, so nothing to calibrate the scale by. Collect images first.")
    values = np.array(list(similarity.values()), dtype=np.float64)
    low, high = np.percentile(values, [first, last]).tolist()
    mean = between(least, most, agreement(values, low, high)).mean().item()
    return Calibration(direction, low, high, float(least), float(most), mean)
