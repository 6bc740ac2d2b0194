"""The ledger of the sealed test split: which classifier was asked, and who was asked twice.

A question is an arm and repeat on a test set. It is meant to be put once, to the classifier that validation chose. The
same classifier may be scored again, after a crash or on another machine; another one under the same name has been
made with knowledge of the first one's score, or could have been, and whoever reads the results should know.
"""

import json
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from taxaforge.files import read_lines

QUESTION = ("arm", "seed", "test")
"""What is asked: of which training set and repeat, on which test pixels."""


def record_opening(ledger: str | Path, opening: Mapping[str, str]) -> int:
    """Append an opening unless it is on record; how many classifiers have answered its question by now.

    Args:
        ledger: JSON lines, made where there is none; it outlives reruns.
        opening: arm, seed, and the SHA-256 of the files `model` and `test`.
    """
    ledger = Path(ledger)
    ledger.parent.mkdir(parents=True, exist_ok=True)
    before = models(ledger).get(tuple(opening[name] for name in QUESTION), [])
    if opening["model"] in before:
        return len(before)
    line = (json.dumps(dict(opening), sort_keys=True) + "\n").encode()
    # One write to a file opened for appending: jobs that score at the same time do not mix their lines.
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line)
    finally:
        os.close(file)
    return len(before) + 1


def models(ledger: str | Path) -> dict[tuple[str, str, str], list[str]]:
    """(arm, seed, test) -> the classifiers that were asked, in order; empty where there is no ledger."""
    found: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for line in read_lines(ledger) if Path(ledger).is_file() else ():
        known = found[tuple(line[name] for name in QUESTION)]
        if line["model"] not in known:
            known.append(line["model"])
    return dict(found)


def summary(ledger: str | Path) -> str:
    """A sentence for the report: how often the test was opened, and which questions were put to a second classifier.

    Raises: KeyError for a line that is no opening.
    """
    found = models(ledger)
    again = sorted({arm for (arm, _, _), asked in found.items() if len(asked) > 1})
    text = f"{sum(map(len, found.values()))} openings for {len(found)} questions (arm, seed and test set)"
    if not again:
        return f"{text}, each put to one classifier"
    count = sum(len(asked) > 1 for asked in found.values())
    return f"{text}; {count} put to more than one classifier: {', '.join(again)}"
