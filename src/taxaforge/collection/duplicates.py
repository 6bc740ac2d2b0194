"""Near duplicates: the same picture at another size, compression or mirrored."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from PIL import Image

BITS = 256


def difference_hash(grey: Image.Image) -> np.ndarray:
    """256 bits: is a cell of a 16 x 17 thumbnail darker than its right neighbour?

    Args:
        grey: mode "L".
    Returns:
        (32,) uint8, packed bits. A recompressed or resized copy differs in few bits, another picture
        in about 128.
    """
    cells = np.asarray(grey.resize((17, 16), Image.Resampling.BOX), dtype=np.int16)
    return np.packbits(cells[:, :-1] < cells[:, 1:])


class Sets:
    """Disjoint sets (union-find). The name of a set is its smallest member, whatever the order of joining."""

    def __init__(self, members: Iterable[str]):
        self.parent = {member: member for member in members}

    def find(self, member: str) -> str:
        while self.parent[member] != member:
            self.parent[member] = self.parent[self.parent[member]]
            member = self.parent[member]
        return member

    def join(self, a: str, b: str) -> None:
        small, large = sorted((self.find(a), self.find(b)))
        self.parent[large] = small

    def join_equal(self, keys: Iterable[tuple[str, Hashable | None]]) -> None:
        """Joins members of equal key; a key of None joins nothing."""
        first: dict[Hashable, str] = {}
        for member, key in keys:
            if key is not None:
                self.join(member, first.setdefault(key, member))


def near_pairs(hashes: np.ndarray, mirrored: np.ndarray, bits: int) -> list[tuple[int, int]]:
    """All pairs within a Hamming distance, mirror images included.

    The hash is cut into bits + 1 bands: two hashes within `bits` agree in at least one of them, so
    only pictures that share a band are compared (Manku et al. 2007). Close to linear while bands are
    long; exact at any `bits`.

    Args:
        hashes: (N, 32) uint8.
        mirrored: (N, 32) uint8, hashes of the mirror images.
        bits: largest distance, 0..255.
    Returns:
        sorted pairs (i, j), i < j.
    """
    if not len(hashes):
        return []
    bands = np.array_split(np.arange(BITS), bits + 1)
    plain, flipped = np.unpackbits(hashes, axis=1), np.unpackbits(mirrored, axis=1)
    found = set()
    for band in bands:
        home: dict[bytes, list[int]] = defaultdict(list)
        for i, key in enumerate(np.packbits(plain[:, band], axis=1)):
            home[key.tobytes()].append(i)
        for asked, keys in (
            (hashes, np.packbits(plain[:, band], axis=1)),
            (mirrored, np.packbits(flipped[:, band], axis=1)),
        ):
            for i, key in enumerate(keys):
                others = home.get(key.tobytes(), ())
                if len(others) < 1 + (asked is hashes):
                    continue
                others = np.array(others)
                distance = np.bitwise_count(hashes[others] ^ asked[i]).sum(axis=1)
                found.update((min(i, j), max(i, j)) for j in others[distance <= bits].tolist() if i != j)
    return sorted(found)


def duplicate_sets(identifiers: Sequence[str], pairs: Iterable[tuple[int, int]]) -> dict[str, str]:
    """identifier -> name of its set; a picture without duplicates is a set of its own."""
    sets = Sets(identifiers)
    for i, j in pairs:
        sets.join(identifiers[i], identifiers[j])
    return {identifier: sets.find(identifier) for identifier in identifiers}
