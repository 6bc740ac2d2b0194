"""Which pictures resemble each other: exact search within a distance, by hash or by features.

Both searches return groups, not pairs: a thousand copies of one picture have half a million pairs.
"""

from collections.abc import Iterator

import numpy as np

BITS = 256
BATCH = 256
"""Queries a search; their answers are the only thing whose size is not known beforehand."""
BUFFER = 1 << 20
"""Pairs that are kept before they are folded into groups."""
SLACK = 1e-4
"""Of cosine similarity: single precision is off by less, so what it passes is computed again in double."""


def near_groups(hashes: np.ndarray, mirrored: np.ndarray, bits: int) -> np.ndarray:
    """Groups of pictures whose hashes, or those of their mirror images, lie within a Hamming distance.

    Args:
        hashes: (N, 32) uint8, 256 bits each.
        mirrored: (N, 32) uint8, hashes of the mirror images.
        bits: largest distance, 0..255.
    Returns:
        (N,) int64; equal numbers: one group, tied directly or through other pictures.
    """
    known, which = np.unique(hashes, axis=0, return_inverse=True)
    which = which.reshape(-1)
    both = np.unique(np.hstack([hashes, mirrored]), axis=0)
    owner = np.unique(both[:, :32], axis=0, return_inverse=True)[1].reshape(-1)
    queries = np.concatenate([known, both[:, 32:]])
    return _grouped(len(known), near_pairs(known, queries, np.concatenate([np.arange(len(known)), owner]), bits))[which]


def near_pairs(
    known: np.ndarray, queries: np.ndarray, owner: np.ndarray, bits: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All (owner of the query, known hash) within a distance, in batches of two (n,) arrays.

    Exact at any distance: the bits are cut into bands, one for every two bits of distance, so that
    two hashes that near differ in at most one bit of some band (pigeonhole), and of each band all
    values within one bit are looked up. Bands are long, so few hashes share one, and time stays close
    to linear; bits that hardly vary over the collection, such as those of white margins, are dealt
    evenly to all bands, since a band of them alone would hold everything.
    Source: Norouzi et al. 2012 (CVPR), multi-index hashing, as in faiss.

    Args:
        known: (K, 32) uint8. queries: (Q, 32) uint8. owner: (Q,) int, index into known.
        bits: largest distance, 0..255.
    """
    if not len(known):
        return
    import faiss

    bands = bits // 2 + 1
    length = min(BITS // bands, 63)  # of a band, in bits; faiss keeps one in 64
    unpacked = np.unpackbits(known, axis=1)
    informative = np.argsort(np.abs(2 * unpacked.sum(axis=0, dtype=np.int64) - len(known)), kind="stable")
    dealt = [informative[band : bands * length : bands] for band in range(bands)]
    order = np.concatenate([*dealt, informative[bands * length :]])

    def arranged(hashes: np.ndarray) -> np.ndarray:
        return np.packbits(np.unpackbits(hashes, axis=1)[:, order], axis=1, bitorder="little")

    index = faiss.IndexBinaryMultiHash(BITS, bands, length)
    index.nflip = 1
    index.add(arranged(known))
    for first in range(0, len(queries), BATCH):
        some = slice(first, first + BATCH)
        limits, _, found = index.range_search(arranged(queries[some]), bits + 1)  # faiss asks for less than
        yield np.repeat(owner[some], np.diff(limits.astype(np.int64))), found


def similar_groups(features: np.ndarray, least: float) -> np.ndarray:
    """Groups of pictures whose features have at least a cosine similarity.

    Every picture is compared with every other, which is exact and grows with the square of N: 100,000
    pictures of 512 numbers are five trillion multiplications, minutes on two cores.

    Args:
        features: (N, D) float32, rows of length 1.
        least: 0..1.
    Returns:
        (N,) int64; equal numbers: one group.
    """
    return _grouped(len(features), _similar_pairs(features, least))


def _similar_pairs(features: np.ndarray, least: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    import faiss

    index = faiss.IndexFlatIP(features.shape[1])
    index.add(features)
    for first in range(0, len(features), BATCH):
        limits, _, found = index.range_search(features[first : first + BATCH], least - SLACK)
        asked = first + np.repeat(np.arange(len(limits) - 1), np.diff(limits.astype(np.int64)))
        other = asked < found  # each pair once, and no picture with itself
        asked, found = asked[other], found[other]
        sure = np.zeros(len(asked), dtype=bool)
        for part in (slice(at, at + BUFFER // 64) for at in range(0, len(asked), BUFFER // 64)):
            a, b = (features[one[part]].astype(np.float64) for one in (asked, found))
            sure[part] = (a * b).sum(axis=1) >= least
        yield asked[sure], found[sure]


def _grouped(n: int, pairs: Iterator[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """(n,) int64 group numbers from pairs, folded together whenever many have come."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    group = np.arange(n)

    def fold(waiting: list[np.ndarray]) -> np.ndarray:
        a, b = np.hstack(waiting)
        graph = coo_array((np.ones(len(a), dtype=bool), (a, b)), shape=(n, n))
        return connected_components(graph, directed=False)[1].astype(np.int64)[group]

    waiting, held = [], 0
    for a, b in pairs:
        ends = np.stack([group[a], group[b]])
        waiting.append(ends[:, ends[0] != ends[1]])
        held += waiting[-1].shape[1]
        if held > BUFFER:
            group, waiting, held = fold(waiting), [], 0
    return fold(waiting) if held else group
