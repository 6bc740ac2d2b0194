"""From scores to decisions: which check drops an image, and what a blind lottery would have dropped instead."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from taxaforge.seeds import seed_of

Check = Callable[[dict], bool]
"""A measured image -> True where the check drops it."""


def checks(cfg: dict) -> dict[str, Check]:
    """What may drop an image, in order. A check's name is its setting, the reason in the table and its line in the ledger.

    cfg: section `filter`. A check that is off is not there, only an exact copy is always looked for.
    A score that is no number counts against its image.
    """
    blank, burnt, near, repeat = (cfg[name] for name in ("min_contrast", "max_clipped", "near_copy", "near_repeat"))
    found, recognised = cfg["semantics"]["top_k"], cfg["classifier"]["top_k"]
    active: dict[str, Check] = {}
    if blank:
        active["min_contrast"] = lambda row: not row["contrast"] >= blank
    if burnt:
        active["max_clipped"] = lambda row: not row["clipped"] <= burnt
    active["near_copy"] = lambda row: row["exactCopy"] or bool(near and not row["nearestSimilarity"] <= near)
    if found:
        active["semantics"] = lambda row: row["filterRank"] > found
    if recognised:
        active["classifier"] = lambda row: row["classifierRank"] > recognised
    if repeat:
        # Without an earlier image of the species there is nothing to repeat.
        active["near_repeat"] = lambda row: (
            row["repeatSimilarity"] is not None and not row["repeatSimilarity"] <= repeat
        )
    return active


def decide(rows: Sequence[dict], checks: Mapping[str, Check]) -> list[dict]:
    """Each row with `reason`, the first check that drops it ("" where none does), and `kept`."""
    reasons = [next((name for name, drops in checks.items() if drops(row)), "") for row in rows]
    return [{**row, "kept": not reason, "reason": reason} for row, reason in zip(rows, reasons, strict=True)]


def lottery(rows: Sequence[dict], seed: int) -> list[dict]:
    """Each row with `control`: kept if as many images of its species were dropped at random as the filter dropped.

    The draw knows the number dropped and nothing else of the scores; of two filters the one that
    drops more drops all that the other does. seed: of the run.
    """
    of: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        of.setdefault(row["scientificName"], []).append(place)
    control = [True] * len(rows)
    for species, places in of.items():
        order = np.random.default_rng(seed_of(seed, "random-drop", species)).permutation(len(places))
        for drawn in order[: sum(not rows[place]["kept"] for place in places)]:
            control[places[drawn]] = False
    return [{**row, "control": kept} for row, kept in zip(rows, control, strict=True)]
