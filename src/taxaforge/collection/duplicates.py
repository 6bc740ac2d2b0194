"""Sets of pictures that are one picture, and which member of each stays."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence

from taxaforge.seeds import seed_of

KINDS = ("exact", "pixel", "near", "embedding")
"""Ties between two copies, the strongest first: equal bytes, equal pixels, hashes within a distance, similar features."""

FREEDOM = ("CC0", "CC-PDM", "CC-BY", "CC-BY-SA", "CC-BY-NC", "CC-BY-NC-SA", "CC-BY-ND", "CC-BY-NC-ND")
"""Licences by what they allow, the freest first; any other comes last."""


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


def mark_sets(rows: Sequence[dict], ties: Mapping[str, Sequence[Hashable | None]]) -> None:
    """Sets `qc_duplicate_set` and `qc_duplicate_kind` of every row; the kind is None for a picture without duplicates.

    Args:
        rows: identifier.
        ties: kind (of KINDS) -> for each row a key that it shares with exactly the rows it is tied to
            by that kind, directly or through others; None: with no row.
    """
    identifiers = [row["identifier"] for row in rows]
    sets = Sets(identifiers)
    for keys in ties.values():
        sets.join_equal(zip(identifiers, keys, strict=True))
    counts = {kind: Counter(keys) for kind, keys in ties.items()}
    for i, row in enumerate(rows):
        row["qc_duplicate_set"] = sets.find(row["identifier"])
        row["qc_duplicate_kind"] = next(
            (k for k in KINDS if k in ties and ties[k][i] is not None and counts[k][ties[k][i]] > 1), None
        )


def judge_sets(rows: Iterable[Mapping]) -> dict[str, str]:
    """identifier -> reason, for the pictures to drop.

    Of a set of one species the best stays, see `rank`. A set under two species is dropped whole: a
    mixed scene or a wrong label, nobody can say.
    """
    members: dict[str, list[Mapping]] = defaultdict(list)
    for row in rows:
        members[row["qc_duplicate_set"]].append(row)
    reasons = {}
    for alike in members.values():
        if len({row["scientificName"] for row in alike}) > 1:
            reasons |= {row["identifier"]: "duplicate_of_two_species" for row in alike}
            continue
        best = min(alike, key=rank)
        reasons |= {row["identifier"]: "duplicate" for row in alike if row is not best}
    return reasons


def rank(row: Mapping) -> tuple:
    """Smaller is better: largest area, then freest licence, then a keyed hash that knows no order."""
    return -row["img_width"] * row["img_height"], freedom(row["license"]), seed_of("keep", row["identifier"])


def freedom(licence: str | None) -> int:
    """Place in FREEDOM, whatever the version; unknown and closed licences come last.

    >>> freedom("CC0-1.0"), freedom("CC-BY-NC-4.0"), freedom("LicenseRef-CC-BY-SA"), freedom(None)
    (0, 4, 3, 8)
    """
    name = (licence or "").upper().removeprefix("LICENSEREF-").rstrip(".0123456789").rstrip("-")
    name = "CC0" if name == "CC" else name  # its digit is no version
    return FREEDOM.index(name) if name in FREEDOM else len(FREEDOM)
