"""Contours to draw along: a training image's own, or a classmate's, moved about so that no drawing is a tracing.

Contours come from training images alone. Each image draws its numbers from a generator of its own, in a
fixed order, so they depend on nothing but its seed, and switching one transform off moves no other.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from taxaforge.diffusion.edges import edges
from taxaforge.packs import Pack
from taxaforge.seeds import seed_of

READY_MADE = {"low": 60, "high": 150, "blur": 0.7}
"""Settings of `edges` for an adapter that does not say what it was trained with."""


def outlines(pixels: np.ndarray, seeds: Sequence[int], transform: Mapping, found: Mapping | None) -> np.ndarray:
    """The contours of pictures, each moved as its seed says.

    Args:
        pixels: (B, H, W, 3) uint8 RGB, H = W. seeds: (B,), one an image. transform: as of `moved`.
        found: settings of `edges` that the adapter was trained with; None: READY_MADE.
    Returns: (B, H, W) uint8; grey where a line lies between pixels.
    """
    return np.stack(
        [
            moved(edge, drawn(seed, transform, len(edge)))
            for edge, seed in zip(edges(pixels, found or READY_MADE), seeds, strict=True)
        ]
    )


def drawn(seed: int, transform: Mapping, side: int) -> tuple[bool, np.ndarray]:
    """Whether a contour is mirrored, and where its pixels go afterwards.

    Args:
        transform: flip: whether half of the contours are mirrored left to right. shift: largest displacement
            along x and along y, in sides. scale: largest change of size, 0.15 is from 1 / 1.15 to 1.15.
            rotate: largest turn in degrees. perspective: largest displacement of each corner, in sides. All
            amounts are drawn evenly from minus to plus the largest (of size: from its logarithm).
    Returns: mirrored, and (3, 3) float64 that takes homogeneous (x, y, 1) px to their new place.
    Source: methods.md 3.2 [recon]; the order perspective, turn and size about the middle, shift is ours.
    """
    from cv2 import getPerspectiveTransform

    rng = np.random.default_rng(seed_of(seed, "outline"))
    mirrored = bool(rng.random() < 0.5) and bool(transform["flip"])
    shift, size, turn = rng.uniform(-1, 1, 2), rng.uniform(-1, 1), rng.uniform(-1, 1)
    corners = rng.uniform(-1, 1, (4, 2)) * transform["perspective"] * side
    shift = shift * transform["shift"] * side
    size = (1 + transform["scale"]) ** size
    turn = np.deg2rad(turn * transform["rotate"])

    middle = (side - 1) / 2
    cosine, sine = size * np.cos(turn), size * np.sin(turn)
    about = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    there, back = np.eye(3), np.eye(3)
    there[:2, 2], back[:2, 2] = -middle, middle + shift
    place = back @ about @ there
    if corners.any():
        square = np.array([[0, 0], [side - 1, 0], [side - 1, side - 1], [0, side - 1]], np.float32)
        place = place @ getPerspectiveTransform(square, (square + corners).astype(np.float32))
    return mirrored, place


def moved(edge: np.ndarray, drawing: tuple[bool, np.ndarray]) -> np.ndarray:
    """A contour (H, W) uint8, mirrored and moved as `drawn` says; what comes in from outside is empty.

    Where nothing moves every bit stays. Else a line that falls between two pixels is shared by them.
    """
    mirrored, place = drawing
    edge = np.ascontiguousarray(edge[:, ::-1]) if mirrored else edge
    if np.array_equal(place, np.eye(3)):
        return edge
    import cv2

    height, width = edge.shape
    return cv2.warpPerspective(edge, place, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def classmates(source: np.ndarray, train: Pack, seeds: Sequence[int], share: float) -> np.ndarray:
    """Each image's own place in `train`, or, for about `share` of the images, another of its class.

    Args:
        source: (B,) places of training images. seeds: (B,). share: 0..1, probability that an image takes a
            classmate's contour; a class with one training image keeps it.
    Returns: (B,) places.
    """
    chosen = source.copy()
    for number, (own, seed) in enumerate(zip(source, seeds, strict=True)):
        rng = np.random.default_rng(seed_of(seed, "classmate"))
        others = np.flatnonzero(train.label == train.label[own])
        others = others[others != own]
        if rng.random() < share and len(others):
            chosen[number] = rng.choice(others)
    return chosen
