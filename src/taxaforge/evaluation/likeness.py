"""How alike two pictures are if one was made from the other: mirrored, cropped, compressed, brightened or blurred.

A picture is described by its long waves (cosines, as in JPEG), brightness and two colour differences. Its mean
brightness is left out, and with it every brightening, and its length, and with it the contrast. A mirror image has the
same waves with some signs turned, and a crop is described from the whole picture by waves that fill the crop alone, so
nothing is resampled. Waves are weighted by their frequency, because in every photograph the long ones are large and alike.

`nearest` finds for each query the reference that it is most likely a part of: all references on a coarse grid of crops
first, then the best few with the crop moved until nothing improves. Pure numpy, in blocks.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

SIDE = 32
"""px at which pictures are looked at; larger ones are averaged down. Finer detail seldom survives a copy."""
SCALES, STEP = (1.0, 0.92, 0.84, 0.76), 0.06
"""Sides of the crops that are tried, as shares of the picture, and the largest way from one to the next."""
LEAST_SCALE = 0.7
MOVES = (0.04, 0.02, 0.01, 0.005)
"""Ways by which size and place of a crop are then moved, as shares of the picture."""
CANDIDATES = 3
"""References of a query that are looked at closely."""
QUERIES, REFERENCES, PAIRS = 1024, 48, 2048
"""Sizes of blocks: these bound the memory (about 100 MB), and change nothing but it."""


RISE = 1.3
"""Power of the frequency in a wave's weight. Higher: more of the detail, of which compression leaves little."""
COLOUR, MEAN_COLOUR = 0.5, 2.0
"""Weight of colour beside brightness, which compression hurts less, and of the mean colour."""


@dataclass(frozen=True)
class Waves:
    """Which waves describe a picture: up to so many half periods a side in brightness (`light`) and in colour."""

    light: int
    colour: int

    def weights(self) -> list[np.ndarray]:
        """(light, light) and twice (colour, colour), 0 for what is left out: mean brightness and the corners."""
        frequency = [np.hypot(*np.meshgrid(np.arange(k), np.arange(k))) for k in (self.light, self.colour)]
        light, colour = (np.where(f < len(f), f**RISE, 0).astype(np.float32) for f in frequency)
        colour *= COLOUR
        colour[0, 0] = MEAN_COLOUR
        return [light, colour, colour]

    def mirror(self) -> np.ndarray:
        """(d,) -1 where a mirrored picture has the wave with the other sign, else 1."""
        signs = [np.broadcast_to((-1.0) ** np.arange(len(w)), w.shape)[w > 0] for w in self.weights()]
        return np.concatenate(signs).astype(np.float32)


FIND, FIT = Waves(8, 5), Waves(18, 8)
"""For the search over all references, and for the close look at a few."""


@dataclass(frozen=True)
class Nearest:
    """score: (n,) -1..1, that of the most similar reference; -1 where there is none. which: (n,) its index; -1: none."""

    score: np.ndarray
    which: np.ndarray


def planes(pixels: np.ndarray) -> np.ndarray:
    """(N, 3, s, s) float32 brightness, blue and red difference of (N, size, size, 3) uint8 RGB; s = min(size, SIDE)."""
    n, size = pixels.shape[:2]
    side = min(size, SIDE)
    edges = np.linspace(0, size, side + 1)
    share = np.clip(
        np.minimum(edges[1:, None], np.arange(1, size + 1)) - np.maximum(edges[:-1, None], np.arange(size)), 0, 1
    )
    share = (share * side / size).astype(np.float32)
    out = np.empty((n, 3, side, side), np.float32)
    for block in _blocks(n, QUERIES):
        small = share @ np.moveaxis(np.asarray(pixels[block], np.float32), 3, 1) @ share.T
        red, green, blue = small[:, 0], small[:, 1], small[:, 2]
        light = 0.299 * red + 0.587 * green + 0.114 * blue
        out[block] = np.stack([light, blue - light, red - light], axis=1)
    return out


def nearest(queries: np.ndarray, references: np.ndarray, apart: tuple[np.ndarray, np.ndarray] | None = None) -> Nearest:
    """The reference that each query is most likely a copy of, or of a part of.

    Args:
        queries: (n, 3, s, s), references: (m, 3, s, s), as `planes` gives them.
        apart: (n,) and (m,) int: a query is not compared with references of the same number, such as of its own
            observation group; negative numbers are equal to none.
    """
    n = len(queries)
    if not n or not len(references):
        return Nearest(np.full(n, -1.0), np.full(n, -1))
    which, view = _candidates(queries, references, apart)
    score = np.full(which.shape, -1.0)
    real = np.flatnonzero(which.ravel() >= 0)
    flat = score.reshape(-1)
    for block in _blocks(len(real), PAIRS):
        pairs = real[block]
        flat[pairs] = _fitted(queries[pairs // which.shape[1]], references[which.ravel()[pairs]], view.ravel()[pairs])
    best = score.argmax(axis=1)
    rows = np.arange(n)
    return Nearest(score[rows, best], which[rows, best])


def paired(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """(n,) score of each query with the reference of the same place."""
    score = np.empty(len(queries))
    whole = np.array([[0.5, 0.5, 1.0]])
    for block in _blocks(len(queries), REFERENCES):
        asked, shown = _described(queries[block], whole, FIND)[:, 0], _both_ways(references[block])
        view = np.einsum("nvd,nd->nv", shown, asked).argmax(axis=1)
        score[block] = _fitted(queries[block], references[block], view)
    return score


def _both_ways(references: np.ndarray) -> np.ndarray:
    """(N, 2 V, d) the views of pictures on the grid, then those of their mirror images."""
    shown = _described(references, _views(), FIND)
    return np.concatenate([shown, shown * FIND.mirror()], axis=1)


def _views() -> np.ndarray:
    """(V, 3) centre and side of the crops on the grid, as shares of the picture: x, y, scale."""
    found = []
    for scale in SCALES:
        room = 1 - scale
        at = np.linspace(0, room, int(np.ceil(room / STEP - 1e-9)) + 1) + scale / 2
        found += [(x, y, scale) for y in at for x in at]
    return np.array(found)


def _candidates(
    queries: np.ndarray, references: np.ndarray, apart: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray]:
    """(n, c) indices of references, -1 for none, and the view of each that fits best; mirrored ones count from V on."""
    whole = np.array([[0.5, 0.5, 1.0]])
    few = min(CANDIDATES, len(references))
    asked = np.concatenate([_described(queries[b], whole, FIND)[:, 0] for b in _blocks(len(queries), QUERIES)])
    score = np.full((len(queries), few), -2.0, np.float32)
    which, view = np.full((len(queries), few), -1), np.zeros((len(queries), few), int)
    for block in _blocks(len(references), REFERENCES):
        shown = _both_ways(references[block])
        count = shown.shape[1]
        for rows in _blocks(len(queries), QUERIES):
            like = (asked[rows] @ shown.reshape(-1, shown.shape[2]).T).reshape(-1, len(shown), count)
            at = like.argmax(axis=2)
            like = np.take_along_axis(like, at[:, :, None], axis=2)[:, :, 0]
            if apart is not None:
                own, theirs = apart[0][rows, None], apart[1][None, block]
                like[(own == theirs) & (own >= 0)] = -2
            indices = np.broadcast_to(np.arange(block.start, block.stop), like.shape)
            joined = np.concatenate([score[rows], like], axis=1)
            order = np.argsort(-joined, axis=1, kind="stable")[:, :few]
            for column, new in ((which, indices), (view, at)):
                column[rows] = np.take_along_axis(np.concatenate([column[rows], new], axis=1), order, axis=1)
            score[rows] = np.take_along_axis(joined, order, axis=1)
    which[score < -1.5] = -1
    return which, view


def _fitted(queries: np.ndarray, references: np.ndarray, view: np.ndarray) -> np.ndarray:
    """(P,) cosine of each query with the part of its reference that fits best, found from a view of the grid on."""
    views = _views()
    asked = _described(queries, np.array([[0.5, 0.5, 1.0]]), FIT)[:, 0]
    asked[view >= len(views)] *= FIT.mirror()

    def score(crops: np.ndarray) -> np.ndarray:
        return np.einsum("pd,pd->p", asked, _described(references, crops[:, None], FIT)[:, 0])

    crop = views[view % len(views)]
    best = score(crop)
    for way in MOVES:
        for axis in (0, 1, 2):
            for sign in (-1, 1):
                moved = crop.copy()
                moved[:, axis] += sign * way
                moved[:, 2] = moved[:, 2].clip(LEAST_SCALE, 1)
                half = moved[:, 2:] / 2
                moved[:, :2] = moved[:, :2].clip(half, 1 - half)
                now = score(moved)
                better = now > best
                crop[better], best[better] = moved[better], now[better]
    return best.astype(np.float64)


def _described(images: np.ndarray, crops: np.ndarray, waves: Waves) -> np.ndarray:
    """(N, V, d) float32 rows of length 1; a part without any structure has length 0.

    Args: images: (N, 3, s, s). crops: (V, 3), the same for all images, or (N, 1, 3), one for each.
    """
    side, weights = images.shape[2], waves.weights()
    across, down = (_basis(side, crops[..., axis], crops[..., 2], waves.light) for axis in (0, 1))
    parts = []
    for plane, weight in enumerate(weights):
        k = len(weight)
        found = down[..., :k, :] @ images[:, None, plane] @ np.swapaxes(across[..., :k, :], -1, -2)
        parts.append((found * weight)[..., weight > 0])
    value = np.concatenate(parts, axis=-1)
    return value / np.maximum(np.linalg.norm(value, axis=-1, keepdims=True), 1e-6)


def _basis(side: int, centre: np.ndarray, scale: np.ndarray, count: int) -> np.ndarray:
    """(..., count, side) float32 weights of pixels: cosines of 0, 1, 2... half periods on a part, integrated over each pixel."""
    edge = np.arange(side + 1, dtype=np.float32) / side
    within = (edge - (centre - scale / 2)[..., None]) / scale[..., None]
    within = within.clip(0, 1).astype(np.float32)[..., None, :]
    k = np.arange(count, dtype=np.float32)[:, None]
    integral = np.where(k == 0, within, np.sin(np.float32(np.pi) * k * within) / (np.float32(np.pi) * np.maximum(k, 1)))
    return np.diff(integral, axis=-1)


def _blocks(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
