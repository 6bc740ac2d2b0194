"""The taxonomy of a run as a tree: who is related to whom, and how closely.

A record is a mapping with the ranks of `schema.RANKS` (other keys are ignored); a missing rank is
None, absent or "". Ranks are compared from the kingdom down, so that genera of one name in two
kingdoms stay apart.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from taxaforge.taxonomy.schema import RANKS

ROOT = "root"


@dataclass(frozen=True)
class Node:
    """A taxon. children: sorted by name; a species has none. A missing rank has no node: its children
    hang one higher (a polytomy)."""

    rank: str
    name: str
    children: tuple["Node", ...] = ()


def nested(records: Iterable[Mapping]) -> Node:
    """The tree above the given species, under one root.

    >>> lizards = [{"family": "Lacertidae", "species": "Zootoca vivipara"}, {"family": "Lacertidae", "species": "Lacerta agilis"}]
    >>> [child.name for child in nested(lizards).children[0].children]
    ['Lacerta agilis', 'Zootoca vivipara']
    """
    return _grow(ROOT, "", [tuple((rank, record[rank]) for rank in RANKS if record.get(rank)) for record in records])


def _grow(rank: str, name: str, paths: Sequence[tuple]) -> Node:
    below: dict[tuple, list] = {}
    for path in paths:
        if path:
            below.setdefault(path[0], []).append(path[1:])
    order = sorted(below, key=lambda step: (step[1], step[0]))
    return Node(rank, name, tuple(_grow(*step, below[step]) for step in order))


def common_ancestor(a: Mapping, b: Mapping) -> tuple[str, str]:
    """(rank, name) of the lowest taxon that holds both; ("root", "") where they share none.

    A rank that one of them lacks is skipped; the first on which both differ ends the search.
    """
    found = ROOT, ""
    for rank in RANKS:
        ours, theirs = a.get(rank), b.get(rank)
        if ours and theirs:
            if ours != theirs:
                break
            found = rank, ours
    return found


def height(rank: str) -> int:
    """Ranks above the species: species 0, genus 1, family 2 ... kingdom 6, root 7."""
    return len(RANKS) if rank == ROOT else len(RANKS) - 1 - RANKS.index(rank)


def distance(a: Mapping, b: Mapping) -> int:
    """Height of the lowest common ancestor: 0 the same species, 1 the same genus ... 7 nothing in common.

    An ultrametric: symmetric, and the largest two of any three distances are equal where no rank is missing.
    """
    return height(common_ancestor(a, b)[0])


def newick(node: Node) -> str:
    """The tree in Newick format, names quoted, one unit of length a rank; tips end level, missing ranks or not.

    >>> newick(nested([{"genus": "Pica", "species": "Pica pica"}]))
    "('Pica pica':1.0)'Pica':6.0;"
    """
    if node.rank == ROOT:
        inner = ",".join(_branch(child, height(ROOT)) for child in node.children)
        return f"({inner});" if len(node.children) != 1 else f"{inner};"
    return _branch(node, height(node.rank)).rsplit(":", 1)[0] + ";"


def _branch(node: Node, above: int) -> str:
    own = height(node.rank)
    inner = "(" + ",".join(_branch(child, own) for child in node.children) + ")" if node.children else ""
    quoted = node.name.replace("'", "''")
    return f"{inner}'{quoted}':{float(above - own)}"
