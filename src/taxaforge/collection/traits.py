"""Traits of simulated species: Brownian motion along the taxonomy, with Pagel's lambda.

The tree has one node a named taxon of order, family, genus and species; the four steps are equally
long and a species stands at depth 1 (Grafen-style, ultrametric). Two species share the path down to
their last common taxon, so C = 1/4 within an order, 1/2 within a family, 3/4 within a genus and 0
across orders. A missing rank is a polytomy: its step belongs to the next named rank.

Every increment belongs to its node and every draw to (collection seed, node): a species' traits do
not depend on which other species are in the list. For that the steps are fixed; Grafen's own lengths
would start at the first split of the list at hand and move all species whenever one joins.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from taxaforge.errors import TaxaforgeError
from taxaforge.seeds import seed_of

ABOVE = ("kingdom", "phylum", "class")  # told apart, but of no length: orders of two classes are as far as two orders
STEPS = ("order", "family", "genus", "species")


def path(record: Mapping[str, str | None]) -> list[tuple[str, float]]:
    """The nodes from the root to a species as (key, length of the branch above it); lengths sum to 1.

    The key holds all names above the node, so that homonyms in two families are two nodes.
    """
    key = "/".join(record.get(rank) or "" for rank in ABOVE)
    nodes, length = [], 0.0
    for rank in STEPS:
        name = record.get(rank)
        key, length = f"{key}/{name or ''}", length + 1 / len(STEPS)
        if name:
            nodes.append((key, length))
            length = 0.0
    return nodes


def covariance(classes: Sequence[Mapping], signal: float) -> np.ndarray:
    """What trait covariance between species the simulator promises.

    Args:
        classes: (N) lineage records, `order` .. `species`.
        signal: Pagel's lambda in [0, 1].
    Returns:
        (N, N), lambda * C + (1 - lambda) * diag(C); 1 on the diagonal.
    Source: Pagel 1999 (doi:10.1038/44766) on a tree with equal rank steps (Grafen 1989, doi:10.1098/rstb.1989.0106).
    """
    paths = [dict(path(record)) for record in classes]
    shared = [[sum(length for key, length in a.items() if key in b) for b in paths] for a in paths]
    c = np.array(shared, dtype=float).reshape(len(paths), len(paths))
    return signal * c + (1 - signal) * np.diag(np.diag(c))


def species_traits(record: Mapping, signal: float, seed: int, count: int) -> np.ndarray:
    """Standardised mean traits of one species.

    Over seeds, X ~ MN(0, `covariance`, I): a tree part and an own part, weighted so that their sum
    has exactly that covariance.

    Args:
        record: lineage of the species, as in classes.json.
        signal: Pagel's lambda in [0, 1].
        seed: of the collection.
        count: number of traits.
    Returns:
        (count,), mean 0 and variance 1 over seeds.
    Raises: TaxaforgeError where signal lies outside [0, 1].
    """
    if not 0 <= signal <= 1:
        raise TaxaforgeError(f"phylogenetic_signal is {signal}, but Pagel's lambda lies between 0 and 1.")
    nodes = path(record)

    def normal(kind: str, key: str) -> np.ndarray:
        return np.random.default_rng(seed_of(seed, "drift", kind, key)).standard_normal(count)

    tree = sum(np.sqrt(length) * normal("node", key) for key, length in nodes)
    own = normal("own", nodes[-1][0])
    return np.sqrt(signal) * tree + np.sqrt(1 - signal) * own
