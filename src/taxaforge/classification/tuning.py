"""How real and synthetic images are mixed, and what is tried where validation is to decide.

A mixing is written `policy:number`. Arms that mix try mixings; all others, which have nothing to mix, try as many
learning rates, so that no arm has the larger tuning budget.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taxaforge.classification.arms import Arm
from taxaforge.errors import TaxaforgeError

NUMBERS = {"add": "ratio", "replace": "probability", "weight": "weight", "pretrain": "share"}
"""Policy -> the setting in `classification.mixing` that is its number."""

PLAIN = {"policy": "add", "ratio": 0.0}
"""Mixing where none is given: all synthetic images beside all real ones."""


@dataclass(frozen=True)
class Trial:
    """policy: one of NUMBERS, "" where nothing is mixed. number: what belongs to it. rate: factor of the learning rate."""

    policy: str = ""
    number: float = 0.0
    rate: float = 1.0

    @property
    def words(self) -> dict:
        """For the history: `mixing` as candidates are written, "" where nothing is mixed, and `rate_factor`."""
        return {"mixing": f"{self.policy}:{self.number:g}" if self.policy else "", "rate_factor": self.rate}


def parse(candidate: str) -> Trial:
    """The trial behind a candidate. Raises TaxaforgeError for an unknown policy or a number out of its range.

    >>> parse("replace:0.3")
    Trial(policy='replace', number=0.3, rate=1.0)
    """
    policy, _, number = candidate.partition(":")
    try:
        trial = Trial(policy, float(number))
    except ValueError:
        trial = Trial("")
    fits = {
        "add": lambda x: 0 <= x < float("inf"),
        "replace": lambda x: 0 <= x <= 1,
        "weight": lambda x: 0 < x < float("inf"),
        "pretrain": lambda x: 0 < x < 1,
    }
    if trial.policy not in fits or not fits[trial.policy](trial.number):
        raise TaxaforgeError(
            f"{candidate!r} is no mixing. Write add:<synthetic images a real one, 0 for all>, replace:<probability 0..1>, "
            "weight:<above 0> or pretrain:<share of the steps, between 0 and 1> in classification.mixing."
        )
    return trial


def trials(arm: Arm, mixing: Mapping) -> list[Trial]:
    """What an arm tries: one thing, or under `auto` as many as every other arm.

    Args:
        mixing: section `classification.mixing`; of `auto`, arms that mix read `candidates`, all others
            `learning_rate_factors`.
    Raises: TaxaforgeError where there is nothing to try.
    """
    policy = mixing["policy"]
    if policy != "auto":
        return [parse(f"{policy}:{mixing[NUMBERS[policy]]}")] if arm.mixed else [Trial()]
    name = "candidates" if arm.mixed else "learning_rate_factors"
    if not mixing[name]:
        raise TaxaforgeError(f"classification.mixing.policy is 'auto', and classification.mixing.{name} is empty.")
    return [parse(item) if arm.mixed else Trial(rate=item) for item in mixing[name]]


def summary(history: Sequence[Mapping]) -> list[dict]:
    """A line a trial, from the history that `train` writes: what was tried, and what validation said of its best step.

    Returns: `trial` (from 1), `mixing` ("" where nothing is mixed), `rate_factor`, `steps`, `best_step`,
        `validation_accuracy`, `validation_nll`, and `chosen`: whether its weights were kept.
    """
    out = []
    for number in sorted({line["trial"] for line in history}):
        lines = [line for line in history if line["trial"] == number]
        best = [line for line in lines if line["best"]][-1]
        out.append(
            {name: best[name] for name in ("trial", "mixing", "rate_factor", "validation_accuracy", "validation_nll")}
            | {"steps": lines[-1]["step"], "best_step": best["step"], "chosen": any(line["chosen"] for line in lines)}
        )
    return out
