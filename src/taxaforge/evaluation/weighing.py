"""What a finished run is worth: cost of a point gained, effects it can see, and the run that would settle the rest."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from taxaforge import tables
from taxaforge.evaluation.efficiency import efficiency_rows
from taxaforge.evaluation.next_run import next_rows, run_of
from taxaforge.evaluation.power_table import power_rows, sentence
from taxaforge.evaluation.schema import ACCURACY, COMPARISONS, COST, EFFICIENCY, NEXT_RUN, POWER, VERDICT
from taxaforge.files import read_lines
from taxaforge.guidance.schema import IMAGES as SYNTHETIC


def weigh(
    *,
    comparisons: str | Path,
    verdict: str | Path,
    accuracy: str | Path,
    cost: str | Path,
    synthetic: Mapping[str, str | Path],
    histories: Mapping[str, str | Path],
    cfg: dict,
    out_efficiency: str | Path,
    out_power: str | Path,
    out_next: str | Path,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
) -> None:
    """Write EFFICIENCY, POWER and NEXT_RUN; print the answer on power and the cheapest next runs.

    Args:
        synthetic: {method: metadata.parquet}, for the images drawn and kept.
        histories: {arm: history.jsonl} of one classifier each, for the settings that were tried.
        cfg: alpha, delta_points, delta_tier_points, arms, seeds, test (images a species), runs (that are joined).
    """
    compared, decided, spent = (
        tables.read(COMPARISONS, comparisons),
        tables.read(VERDICT, verdict),
        tables.read(COST, cost),
    )
    macro = {
        row["arm"]: row["value"]
        for row in tables.read(ACCURACY, accuracy)
        if (row["seed"], row["scope"], row["metric"]) == ("mean", "all", "macro_top1")
    }
    drawn = {method: tables.read(SYNTHETIC, path) for method, path in synthetic.items()}
    images = {method: (len(rows), sum(row["kept"] for row in rows)) for method, rows in drawn.items()}
    trials = {arm: max([line.get("trial", 1) for line in read_lines(path)] or [1]) for arm, path in histories.items()}
    priced = efficiency_rows(compared, spent, macro, images, trials)
    powers = power_rows(compared, cfg["alpha"], [cfg["delta_points"]])
    following = next_rows(decided, compared, run_of(spent, cfg), cfg)
    tables.write(EFFICIENCY, priced, out_efficiency)
    tables.write(POWER, powers, out_power)
    tables.write(NEXT_RUN, following, out_next)
    for line in told(powers, following, cfg["delta_points"]):
        print(line)
    log(
        None,
        {f"wall_s_per_point/{r['method']}": r["wall_s_per_point"] for r in priced if r["wall_s_per_point"] is not None},
    )


def told(powers: Sequence[Mapping], following: Sequence[Mapping], delta: float) -> list[str]:
    """The sentences of a run: what it could see, and for each open method what would settle it."""
    lines = [sentence(powers, delta)] if powers else []
    for row in following:
        if row["cheapest"]:
            lines.append(f"{row['method']}: {row['sentence']} ({row['change']})")
        elif not row["change"]:
            lines.append(f"{row['method']}: {row['sentence']}")
    return lines
