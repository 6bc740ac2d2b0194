"""Which images a method draws, in which order, and which of them a shard and a batch take.

The order is interleaved: image 0 of every species, then image 1 of every species, and so on. A
batch then mixes species, so a species that fails shows in the first minutes and shards cost alike.

Shards take whole blocks of that order in turn. A block depends on the number of images only, and
batches are cut within a block: so another `runtime.micro_batch` moves no image to another shard,
and another number of shards leaves every batch, and with it every byte, as it was.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from taxaforge.errors import TaxaforgeError
from taxaforge.seeds import seed_of

LARGEST_BLOCK = 256
BLOCKS_AT_LEAST = 8


@dataclass(frozen=True)
class Item:
    """One image to draw. label: index of its species among the classes. file_name: relative to the shard's folder."""

    species: str
    label: int
    index: int
    seed: int
    identifier: str
    file_name: str


def image_seed(seed: int, species: str, index: int) -> int:
    """The seed of one image in [0, 2**63). The method is left out: compared methods share their noise."""
    return seed_of(seed, "image", species, index)


def worklist(species: Sequence[str], counts: Sequence[int], method: str, seed: int) -> list[Item]:
    """All images of a method in the run's order; a species whose count is used up is passed over.

    Args: species, counts: C names and how many images of each.
    Raises: TaxaforgeError where two species would share a folder.
    """
    folders = [re.sub(r"[^\w.-]+", "_", name) for name in species]
    if len(set(folders)) < len(folders):
        twice = sorted(name for name, folder in zip(species, folders, strict=True) if folders.count(folder) > 1)
        raise TaxaforgeError(f"These species would share a folder: {', '.join(twice)}. Rename or drop one of them.")
    items = []
    for index in range(max(counts, default=0)):
        for label, (name, folder) in enumerate(zip(species, folders, strict=True)):
            if index < counts[label]:
                identifier = f"{method}-{folder}-{index:04d}"
                file = f"{folder}/{identifier}.png"
                items.append(Item(name, label, index, image_seed(seed, name, index), identifier, file))
    return items


def batches(items: Sequence[Item], shard: int, shards: int, micro_batch: int) -> list[list[Item]]:
    """The batches of one shard, nearly equal in size and at most `micro_batch` images; a shard may have none."""
    if not 0 <= shard < shards:
        raise TaxaforgeError(f"Shard {shard} does not exist: with {shards} shards they are 0 to {shards - 1}.")
    size = max(1, min(LARGEST_BLOCK, -(-len(items) // BLOCKS_AT_LEAST)))
    blocks = [items[start : start + size] for start in range(0, len(items), size)]
    return [batch for block in blocks[shard::shards] for batch in _cut(block, micro_batch)]


def _cut(block: Sequence[Item], most: int) -> list[list[Item]]:
    """A block in as few batches as `most` allows, the longest at most one image longer than the shortest."""
    parts = -(-len(block) // most)
    ends = [len(block) * part // parts for part in range(parts + 1)]
    return [list(block[start:end]) for start, end in pairwise(ends)]
