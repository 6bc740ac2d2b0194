"""What the run cost: by job, by rule, by arm and in total, from the benchmark files that Snakemake writes.

An arm costs its classifiers and, where it uses synthetic images, the training of the generator and the
generation and filtering of its methods, dropped images included, as well as what these methods use: a guide, a
contour adapter, captions, learned tokens. Every arm but `real` counts its steps by the images asked for, so
what deals these out is its own, too. What every arm needs (taxonomy,
collection, packs, image metrics) is not split over arms, and a generator that several arms share
counts in full for each: the cost of having that arm alone.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from taxaforge import tables
from taxaforge.evaluation.schema import COST
from taxaforge.files import read_json, read_lines


def tally(
    *,
    jobs: Sequence[Mapping],
    arms: Mapping[str, Mapping[str, Sequence[str]]],
    out: str | Path,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
) -> None:
    """Write COST.

    Args:
        jobs: {"rule", "wildcards", "benchmark": path of a .jsonl} each; a job without its file (it ran before
            benchmarks were kept, or never) is left out of every count.
        arms: arm -> {"methods": whose images it adds, "rules": whose jobs exist to have them, or to know their number}.
    """
    ledger = [job | measured(job["benchmark"]) for job in map(dict, jobs) if Path(job["benchmark"]).is_file()]
    rows = [_sum("job", "/".join([job["rule"], *map(str, job["wildcards"].values())]), [job]) for job in ledger]
    rows += [
        _sum("rule", rule, [job for job in ledger if job["rule"] == rule])
        for rule in dict.fromkeys(job["rule"] for job in ledger)
    ]
    rows += [_sum("arm", arm, [job for job in ledger if belongs(job, arm, **needs)]) for arm, needs in arms.items()]
    rows.append(_sum("total", "total", ledger))
    tables.write(COST, rows, out)
    log(None, {f"{name}/{row['name']}": row[name] for row in rows[-1 - len(arms) :] for name in ("wall_s", "device_s")})


def belongs(job: Mapping, arm: str, methods: Sequence[str], rules: Sequence[str]) -> bool:
    """Would this job be needed if the arm were the only one?"""
    wildcards = job["wildcards"]
    if "arm" in wildcards:
        return wildcards["arm"] == arm
    if "method" in wildcards:
        return wildcards["method"] in methods
    return job["rule"] in rules


def measured(benchmark: str | Path) -> dict[str, float | None]:
    """Added up over the lines of a benchmark file (one a repetition); "NA" means too short to be sampled.

    Energy of the job's GPUs stands in `<benchmark>.energy.json` where their driver tells it.
    """
    energy = Path(benchmark).with_suffix(".energy.json")
    lines = read_lines(benchmark)
    peaks = [line["max_rss"] for line in lines if line["max_rss"] != "NA"]
    return {
        "wall_s": float(sum(line["s"] for line in lines)),
        "cpu_s": float(sum(line["cpu_time"] for line in lines if line["cpu_time"] != "NA")),
        "peak_mib": float(max(peaks)) if peaks else None,
        "device_s": float(sum(line["s"] * float(line.get("resources", {}).get("gpu", 0)) for line in lines)),
        "energy_wh": read_json(energy)["joules"] / 3600 if energy.is_file() else None,
    }


def _sum(level: str, name: str, jobs: Sequence[Mapping]) -> dict:
    peaks = [job["peak_mib"] for job in jobs if job["peak_mib"] is not None]
    sums = {key: round(sum(job[key] for job in jobs), 4) for key in ("wall_s", "cpu_s", "device_s")}
    energy = [job["energy_wh"] for job in jobs if job["device_s"]]
    known = round(sum(energy), 4) if energy and None not in energy else None
    return {"level": level, "name": name, "jobs": len(jobs), **sums, "peak_mib": max(peaks, default=None)} | {
        "energy_wh": known
    }
