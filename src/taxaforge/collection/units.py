"""What each split.unit lets a group of pictures enter, beyond keeping it together.

A rule sees the kept and the dropped pictures of one group. It decides the place of some of them, and
says which splits the others may enter.
"""

from collections.abc import Callable, Mapping, Sequence

from taxaforge.collection.places import block, days
from taxaforge.collection.ties import USED, observers
from taxaforge.errors import TaxaforgeError

Rows = Sequence[Mapping]
Rule = Callable[[Rows, Rows], tuple[dict[str, str], frozenset[str]]]
"""(kept, dropped) -> (identifier -> split of those whose place is decided, splits that the others may enter)."""

ANY = frozenset(USED)
NOT_TESTED = ANY - {"test"}
TRAINING = frozenset({"train", "reserve"})


class NoOfficialSplit(TaxaforgeError):
    """split.unit is `official`, but the dataset has no split of its own."""


def rule_of(split: Mapping, kept: Rows) -> Rule:
    """The rule of a section `split` for a collection. Raises: NoOfficialSplit."""
    if split["unit"] == "official":
        return official(_sealed(kept))
    rules = {
        "observer": only_where(observers, otherwise=TRAINING),
        "spatial": only_where(lambda row: block(row, split["block_km"]), otherwise=frozenset({"train"})),
        "time": since(split["cut"]),
    }
    return rules.get(split["unit"], lambda kept, dropped: ({}, ANY))


WHY = {
    "observer": "no known observer",
    "spatial": "no coordinates that are certain to lie in one square of split.block_km",
    "time": "no date that lies clearly on one side of split.cut, or one before it",
    "official": "no place in the dataset's own test split",
}
"""What pictures lack that may not enter the test split."""


def _sealed(kept: Rows) -> str:
    """The official split that is the test."""
    found = {row["officialSplit"] for row in kept}
    if "test" in found:
        return "test"
    if "validation" in found:
        print(
            "No image has officialSplit 'test': the dataset's validation images are the test, as is usual where its "
            "test has no labels, and validation is dealt from its training images."
        )
        return "validation"
    raise NoOfficialSplit(
        "split.unit is 'official', but no image has officialSplit 'test' or 'validation'. Set split.unit to 'event', "
        "or name the test images in column `split` of collection.folder.table."
    )


def only_where(known: Callable[[Mapping], object], otherwise: frozenset[str]) -> Rule:
    """A group may enter any split where all its pictures are known, else only `otherwise`."""
    return lambda kept, dropped: ({}, ANY if all(known(row) for row in kept) else otherwise)


def since(cut: str) -> Rule:
    """Test is what was taken from the day `cut` (ISO date) on, everything else what was taken before.

    Undated pictures, and those whose date spans the cut, go to train or reserve. Where a group straddles
    the cut its late pictures are unused; an earlier copy of a late picture counts.
    """

    def side(row: Mapping) -> str:
        if not (span := days(row["eventDate"])):
            return "undated"
        return "late" if span[0] >= cut else "early" if span[1] < cut else "undated"

    def rule(kept: Rows, dropped: Rows) -> tuple[dict[str, str], frozenset[str]]:
        sides = {row["identifier"]: side(row) for row in kept}
        if set(sides.values()) == {"late"} and not any(side(row) == "early" for row in dropped):
            return {}, frozenset({"test"})
        fixed = {identifier: "unused" for identifier, value in sides.items() if value == "late"}
        return fixed, TRAINING if "undated" in sides.values() else NOT_TESTED

    return rule


def official(sealed: str) -> Rule:
    """The dataset's own test and validation pictures stay where they are; what is tied to them is unused.

    Pictures without an official split are as those for training. Between test and validation, test decides.

    Args:
        sealed: the official split that is the test: `test`, or `validation` where the dataset's test has no labels.
    """

    def part_of(row: Mapping) -> str | None:
        return "test" if row["officialSplit"] == sealed else row["officialSplit"]

    def rule(kept: Rows, dropped: Rows) -> tuple[dict[str, str], frozenset[str]]:
        here = {part_of(row) for row in (*kept, *dropped)}
        for part in ("test", "validation"):
            if part in here:
                return {row["identifier"]: part if part_of(row) == part else "unused" for row in kept}, frozenset()
        return {}, NOT_TESTED

    return rule


def continued(earlier: Mapping[str, str], rule: Rule) -> Rule:
    """Pictures of an earlier split stay where they were, and new ones that are tied to them follow.

    Where new ties join pictures of several splits, those of the most sealed one stay and the others are
    unused. Groups that were not dealt before, or were unused, are left to `rule`.

    Args:
        earlier: identifier -> split.
    """

    def continued_rule(kept: Rows, dropped: Rows) -> tuple[dict[str, str], frozenset[str]]:
        known = {row["identifier"]: earlier.get(row["identifier"]) for row in (*kept, *dropped)}
        part = next((part for part in SEALED_FIRST if part in known.values()), None)
        if part is None:
            return rule(kept, dropped)
        own = {row["identifier"]: known[row["identifier"]] for row in kept}
        stay = {name: part if old == part else "unused" for name, old in own.items() if old in USED}
        return stay, frozenset({part})

    return continued_rule


SEALED_FIRST = ("test", "validation", "reserve", "train")
