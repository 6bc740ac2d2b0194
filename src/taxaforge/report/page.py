"""The page: one HTML file that opens without network, verdict first."""

import base64
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from taxaforge import tables
from taxaforge.collection.schema import REJECTIONS, SPLIT_NAMES, SPLITS
from taxaforge.evaluation.audit_schema import AUDITS, MEMORISATION
from taxaforge.evaluation.decision import CORE_CONTROLS, FILTER
from taxaforge.evaluation.schema import (
    ACCURACY,
    COMPARISONS,
    COST,
    EFFICIENCY,
    IMAGES,
    NEXT_RUN,
    POWER,
    SECONDARY,
    VERDICT,
)
from taxaforge.files import atomic, read_json
from taxaforge.report import words
from taxaforge.report.style import arm_name, duration
from taxaforge.taxonomy.schema import REVIEW, TAXA

Paths = str | Path | None
MEDIA = {".svg": "image/svg+xml", ".png": "image/png"}
SHOWN_METRICS = {
    "macro_top1": "macro accuracy",
    "micro_top1": "share of images right",
    "macro_f1": "macro F1",
    "nll": "NLL (nats)",
    "ece": "ECE",
    "brier": "Brier",
    "lca_height": "mean error (ranks)",
}
"""Columns of the accuracy table: metric -> heading."""


def write(
    *,
    settings: Mapping,
    provenance: Mapping,
    out: str | Path,
    figures: Paths = None,
    verdict: Paths = None,
    images: Paths = None,
    accuracy: Paths = None,
    comparisons: Paths = None,
    secondary: Paths = None,
    cost: Paths = None,
    efficiency: Paths = None,
    power: Paths = None,
    next_run: Paths = None,
    audits: Paths = None,
    memorisation: Paths = None,
    pairs: Paths = None,
    taxa: Paths = None,
    review: Paths = None,
    rejections: Paths = None,
    ledger: Paths = None,
    splits: Paths = None,
) -> None:
    """Writes the page; what is not there is named on it.

    Args:
        settings: the whole configuration; sections runtime and tracking are left out.
        provenance: where it comes from: commit, key, seed, version and whatever else is worth a line.
        figures: folder written by `figures_job.draw`. The rest: tables of the run.
    Raises: BrokenContract where a table is not what its schema says.
    """
    parts = {
        "verdict": _rows(VERDICT, verdict),
        "images": _rows(IMAGES, images),
        "accuracy": _rows(ACCURACY, accuracy),
        "comparisons": _rows(COMPARISONS, comparisons),
        "secondary": _rows(SECONDARY, secondary),
        "cost": _rows(COST, cost),
        "efficiency": _rows(EFFICIENCY, efficiency),
        "power": _rows(POWER, power),
        "next_run": _rows(NEXT_RUN, next_run),
        "audits": _rows(AUDITS, audits),
        "memorisation": _rows(MEMORISATION, memorisation),
        "taxa": _rows(TAXA, taxa),
        "review": _rows(REVIEW, review),
        "rejections": _rows(REJECTIONS, rejections),
        "splits": _rows(SPLITS, splits),
    }
    overall = [row for row in parts["verdict"] or [] if row["scope"] == "all"]
    shown = {name: value for name, value in settings.items() if name not in ("runtime", "tracking")}
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=settings.get("run", {}).get("name", "taxaforge"),
            headline=words.headline(overall) if parts["verdict"] is not None else "This run has no verdict.",
            verdicts=overall,
            tier_verdicts=[row for row in parts["verdict"] or [] if row["scope"].startswith("tier:")],
            species_verdicts=[row for row in parts["verdict"] or [] if row["scope"].startswith("species:")],
            prices={row["method"]: row for row in parts["efficiency"] or []},
            following={row["method"]: row for row in parts["next_run"] or [] if row["cheapest"] or not row["change"]},
            secondary=words.secondary(parts["secondary"] or []),
            parts=parts,
            figures=_figures(figures),
            pairs=_embedded(pairs) if _there(pairs) else None,
            ledger=read_json(ledger) if _there(ledger) else None,
            split_counts=_split_counts(parts["splits"] or []),
            split_names=SPLIT_NAMES,
            statuses=Counter(row["status"] for row in parts["taxa"] or []).most_common(),
            renamed=[
                row for row in parts["taxa"] or [] if row["label"] and row["verbatimName"] != row["scientificName"]
            ],
            recognised=words.recognised(parts["images"] or []),
            accuracy=_accuracy(parts["accuracy"] or []),
            metric_names=SHOWN_METRICS,
            compared=[row for row in parts["comparisons"] or [] if row["scope"] == "all"],
            costs=[row for row in parts["cost"] or [] if row["level"] in ("arm", "total")],
            caveats=words.caveats(settings, overall, parts["review"] or [], CORE_CONTROLS),
            simulated=settings.get("collection", {}).get("source") == "simulated",
            settings=list(_flatten(shown)),
            setting=settings,
            provenance=provenance,
            words=words,
            controls=CORE_CONTROLS,
            filters=FILTER,
        )
    )
    with atomic(out) as temporary:
        temporary.write_text(page, "utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": lambda value: "–" if value is None else f"{value:.1%}",
        "points": lambda value: "–" if value is None else f"{value:+.1f}",
        "counted": lambda n, thing: f"{n:g} {thing}{'' if n == 1 else 's'}",
        "number": lambda value: "–" if value is None else f"{value:.3g}",
        "duration": duration,
        "span": lambda value: f"-{duration(-value)}" if value < 0 else duration(value),
        "count": lambda value: "–" if value is None else f"{value:,d}",
        "arm": arm_name,
        "gib": lambda value: "–" if value is None else f"{value / 1024:.2f} GiB",
    }
    return environment


def _there(path: Paths) -> bool:
    return path is not None and Path(path).exists()


def _rows(schema: tables.Schema, path: Paths) -> list[dict] | None:
    """None: the run has no such table."""
    return tables.read(schema, path) if _there(path) else None


def _figures(folder: Paths) -> dict[str, dict]:
    """Every figure by name with its picture as a data URI, or with the reason why there is none."""
    if not _there(folder) or not Path(folder, "figures.json").exists():
        return {}
    index = read_json(Path(folder, "figures.json"))
    found = {entry["name"]: entry for entry in index["missing"]}
    for entry in index["figures"]:
        found[entry["name"]] = {**entry, "uri": _embedded(Path(folder, entry["file"]))}
    return found


def _embedded(path: str | Path) -> str:
    """A picture as a data URI."""
    encoded = base64.b64encode(Path(path).read_bytes()).decode("ascii")
    return f"data:{MEDIA[Path(path).suffix]};base64,{encoded}"


def _split_counts(rows: Sequence[Mapping]) -> list[tuple[str, dict[str, int]]]:
    """(species, split -> images) in the order of first appearance of sorted names."""
    counts: dict[str, Counter] = {}
    for row in rows:
        counts.setdefault(row["scientificName"], Counter())[row["split"]] += 1
    return sorted(counts.items())


def _accuracy(rows: Sequence[Mapping]) -> list[tuple[str, dict[str, Mapping]]]:
    """(arm, metric -> row of the mean over seeds, scope all)."""
    found: dict[str, dict[str, Mapping]] = {}
    for row in rows:
        if row["scope"] == "all" and row["seed"] == "mean":
            found.setdefault(row["arm"], {})[row["metric"]] = row
    return list(found.items())


def _flatten(values: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested settings as ("guidance.cfg.scale", 2.0)."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
