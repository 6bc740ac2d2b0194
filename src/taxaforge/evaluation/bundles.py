"""Several finished runs of one comparison, joined: each with its own training images and generator, all with one test.

Repeats of one run share the images that they learnt from, so what holds over them holds for those images. Whether it
holds for species and method is asked by drawing the images anew.
"""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from taxaforge import tables
from taxaforge.errors import TaxaforgeError
from taxaforge.evaluation.schema import PREDICTIONS
from taxaforge.files import read_json

Triple = tuple[str, int | str, str | Path]


class NoBundle(TaxaforgeError):
    """Runs that cannot be joined."""


def pool(
    predictions: Sequence[Triple], beside: Sequence[str | Path] = (), supports: Sequence[str | Path] = ()
) -> list[Triple]:
    """[arm, "<run>-<repeat>", path] of all runs, this one being run 0; without others `predictions` as they are.

    Args:
        predictions: [arm, repeat, path] of this run.
        beside: of the other runs, one after the other, the predictions of the same arms and repeats, in that order.
        supports: the .json of the training pack of this run, then of the others.
    Raises: NoBundle where runs differ in species or test images, or two learnt from the same images.
    """
    if not beside:
        return list(predictions)
    runs = [[path for *_, path in predictions]]
    runs += [list(beside[at : at + len(predictions)]) for at in range(0, len(beside), len(predictions))]
    packs = [read_json(path) for path in supports]
    tests = [_images(run[0]) for run in runs]
    for pack, test, path, run in zip(packs, tests, supports, runs, strict=True):
        if pack["classes"] != packs[0]["classes"]:
            raise NoBundle(f"{path} is of other species than {supports[0]}: such runs cannot be joined. {REMEDY}")
        if test != tests[0]:
            raise NoBundle(
                f"{run[0]} scores other test images than {runs[0][0]} ({len(test)} and {len(tests[0])}, "
                f"{len(test & tests[0])} in common). {REMEDY}"
            )
    shares = []
    for (one, first), (other, second) in combinations(zip(supports, map(_learnt, packs), strict=True), 2):
        shares.append(len(first & second) / max(len(first), len(second), 1))
        if first == second:
            raise NoBundle(
                f"{one} and {other} are the same training images, so the runs are repeats, not draws. Give each run its own "
                "protocol.draw; for more repeats of one run raise classification.seeds."
            )
    print(
        f"{len(runs)} runs joined; any two share {min(shares):.0%} to {max(shares):.0%} of their training images. "
        "Repeats of one run are averaged."
    )
    return [
        (arm, f"{number}-{repeat}", path)
        for number, run in enumerate(runs)
        for (arm, repeat, _), path in zip(predictions, run, strict=True)
    ]


REMEDY = (
    "Runs in evaluation.beside must have the same settings in run.seed, taxa, taxonomy, collection, split and protocol but for "
    "protocol.draw; correct them, or take the folder off the list."
)


def _images(path: str | Path) -> set[tuple[str, str, str]]:
    """What was scored: identifier, species and group."""
    return {(row["identifier"], row["true"], row["group"]) for row in tables.read(PREDICTIONS, path)}


def _learnt(pack: dict) -> set[str]:
    return set(pack["identifier"])
