"""How every figure looks: one quiet style, one colour a method, and words to go with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taxaforge.files import atomic

WIDTH = 7.4  # inches: the text column of the page at 100 px an inch
INK, MUTED, GRID, BAND = "#222222", "#6b6b6b", "#dddddd", "#e9e9e9"
REAL, CONTROL = "#333333", "#8c8c8c"
SPLITS = {"train": "#1f4e79", "validation": "#7fb2d9", "test": "#c77d0a", "reserve": "#e8c98a", "unused": "#d9d9d9"}
METHODS = {"cfg": "#0072b2", "taxadiffusion": "#d55e00"}
OTHERS = ("#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#4b2e83", "#7a3b2e")
"""Okabe and Ito's palette and its darker neighbours: told apart by colour-blind readers, grey for what is real."""

SETTINGS = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "#999999",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "taxaforge",
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
}


@dataclass(frozen=True)
class Drawing:
    """A figure with its words. alt: what it shows, for who cannot see it. caption: how to read it.

    raster: pictures inside, so it is saved as PNG rather than SVG.
    """

    figure: Figure
    alt: str
    caption: str
    raster: bool = False


def canvas(height: float, columns: int = 1, rows: int = 1, width: float = WIDTH, **more) -> tuple[Figure, list[Axes]]:
    """A figure of `width` x `height` inches and its axes in reading order. Use inside `quiet()`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **more)
    return figure, [axis for row in axes for axis in row]


def quiet():
    """The style, for the length of a with block; drawing and saving both need it."""
    return rc_context(SETTINGS)


def save(drawing: Drawing, folder: Path, name: str) -> Path:
    """Writes `<folder>/<name>.svg` or .png; the same drawing gives the same bytes."""
    path = folder / f"{name}.{'png' if drawing.raster else 'svg'}"
    metadata = {"Software": None} if drawing.raster else {"Date": None, "Creator": None}
    with quiet(), atomic(path) as temporary:
        drawing.figure.savefig(temporary, format=path.suffix[1:], dpi=150, metadata=metadata)
    return path


def method_of(arm: str) -> str:
    """The method behind an arm "real+<method>", "" for real arms; a method's own name stays."""
    return arm.partition("+")[2] if "+" in arm else ("" if arm.startswith("real") else arm)


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each arm or method. Known methods always get theirs; unknown ones theirs by alphabet."""
    unknown = sorted({method_of(name) for name in names} - set(METHODS) - {""})
    table = METHODS | {name: OTHERS[i % len(OTHERS)] for i, name in enumerate(unknown)}
    return {
        name: table[method_of(name)] if method_of(name) else (REAL if name == "real" else CONTROL) for name in names
    }


def arm_name(arm: str) -> str:
    """An arm in words: "real + cfg"; of a setting also "real + each method"."""
    kind, plus, method = arm.partition("+")
    return kind.replace("-", " ") + (f" + {'each method' if method == '*' else method}" if plus else "")


def listed(items: Sequence[str], most: int = 8) -> str:
    """ "a, b and 3 more"."""
    shown = ", ".join(items[:most])
    return f"{shown} and {len(items) - most} more" if len(items) > most else shown


def duration(seconds: float) -> str:
    """Seconds in the unit a person would choose: "48 s", "3.5 min", "2.1 h"."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 or seconds == 0 else f"{seconds:.1f} s"
