"""How the generator was trained: loss curves of every stage, and the pictures it drew on the way."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from PIL import Image

from taxaforge.report.style import GRID, MUTED, WIDTH, Drawing, canvas

TRAIN, THIN, VALIDATION = "#1f4e79", "#9fb8cc", "#c77d0a"
NOISE = ("#e0a82e", "#d0592f", "#8a2a6b", "#2a1a5e")
"""From nearly clean to nearly pure noise: light to dark, told apart without colour, too."""

GRID_ROWS = 12  # species of a sample grid at most, evenly spaced among all
STRIP = 15  # tiles side by side, about, in the filmstrip
LONGEST = 30  # letters of a name beside the filmstrip
DPI = 150  # of a saved picture


def curves(histories: Mapping[str, Sequence[Mapping]]) -> Drawing | None:
    """A row a stage: training and validation loss, and the loss by noise level, against the images seen.

    histories: stage -> lines of its history.jsonl.
    """
    stages = {stage: lines for stage, lines in histories.items() if lines}
    if not stages:
        return None
    parts = _parts([line for lines in stages.values() for line in lines])
    figure, axes = canvas(0.75 + 1.45 * len(stages), 2, len(stages))
    for (stage, lines), left, right in zip(stages.items(), axes[::2], axes[1::2], strict=True):
        images = [line["images"] for line in lines]
        losses = [line["loss"] for line in lines]
        left.plot(images, losses, color=THIN, lw=0.7)
        _line(left, images, _smoothed(losses), TRAIN, "training")
        held_out = [(x, line["validation_loss"]) for x, line in zip(images, lines, strict=True) if _validated(line)]
        if held_out:
            left.plot(*zip(*held_out, strict=True), color=VALIDATION, lw=1.4, marker="o", ms=3, label="validation")
        _scale(left, [*_smoothed(losses), *(loss for _, loss in held_out)])
        for part, colour in zip(parts, NOISE, strict=False):
            seen = [line for line in lines if part in line["loss_by_time"]]
            losses = _smoothed([line["loss_by_time"][part] for line in seen])
            _line(right, [line["images"] for line in seen], losses, colour, part)
        _scale(right, [value for drawn in right.lines for value in drawn.get_ydata()])
        left.set_title(stage)
        right.set_title(_pace(lines), fontweight="normal", size=8, color=MUTED, loc="right")
        for axis in (left, right):
            axis.grid(color=GRID, lw=0.6)
            axis.set_xlim(0, images[-1] * 1.02)
            axis.locator_params(axis="x", nbins=5, integer=True)
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    _key(axes[::2], "loss")
    _key(axes[1::2], "loss at timesteps (small: little noise)")
    figure.supxlabel("training images seen in the stage (number)", size=9)
    figure.supylabel("loss (mean squared error)", size=9)
    ends = "; ".join(_told(stage, lines) for stage, lines in stages.items())
    return Drawing(
        figure,
        f"Loss of each stage: {ends}.",
        "A row a stage, in the order of training. Loss: mean squared error of what the denoiser predicts, in units in "
        "which the noise has variance 1. Left: thin line every logged mean, thick line its running mean over a tenth of "
        "the stage; validation: averaged weights on images held out from training. If it rises while training falls, the "
        "stage learns single images by heart. Right: the running mean by how noisy the image was, at small timesteps "
        "nearly clean, at large ones nearly pure noise. Each panel has its own scale. Grey: images trained on a second "
        "(median) and largest memory of the process. The loss says little about how good images look.",
    )


def _line(axis: Axes, x: Sequence[float], y: Sequence[float], colour: str, label: str) -> None:
    axis.plot(x, y, color=colour, lw=1.6, marker="o" if len(x) == 1 else None, ms=3, label=label)


def _key(axes: Sequence[Axes], title: str) -> None:
    """One legend over a column of panels, of what is drawn in any of them."""
    found = {line.get_label(): line for axis in axes for line in axis.lines if not line.get_label().startswith("_")}
    axes[0].legend(found.values(), found, title=title, loc="lower left", bbox_to_anchor=(-0.02, 1.2), ncols=4, fontsize=8,
                   title_fontsize=8, alignment="left", borderpad=0, handlelength=1.2, columnspacing=0.9)  # fmt: skip


def _validated(line: Mapping) -> bool:
    return line.get("validation_loss") is not None


def _parts(lines: Sequence[Mapping]) -> list[str]:
    """The pieces of the noise schedule, "0-249" and so on, from little to much noise."""
    return sorted({part for line in lines for part in line["loss_by_time"]}, key=lambda part: int(part.split("-")[0]))


def _scale(axis: Axes, values: Sequence[float]) -> None:
    """Limits that hold every value; logarithmic where they span more than five times, never closer than a tenth."""
    values = [value for value in values if np.isfinite(value) and value > 0]
    if not values:
        return
    low, high = min(values), max(values)
    if high > 5 * low:
        axis.set_yscale("log")
        axis.set_ylim(low / 1.25, high * 1.25)
        wide = high > 50 * low
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if wide else (1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.yaxis.set_minor_locator(NullLocator())
    else:
        room = max(0.12 * (high - low), 0.05 * high)
        axis.set_ylim(low - room, high + room)
        axis.locator_params(axis="y", nbins=4)


def _smoothed(values: Sequence[float]) -> list[float]:
    """Running mean over a tenth of the curve around each point, over less at its ends."""
    half = len(values) // 20
    return [float(np.mean(values[max(0, i - half) : i + half + 1])) for i in range(len(values))]


def _pace(lines: Sequence[Mapping]) -> str:
    speed = median(line["images_per_second"] for line in lines)
    return f"{speed:,.0f} images/s, {max(line['memory_mib'] for line in lines):,.0f} MiB"


def _told(stage: str, lines: Sequence[Mapping]) -> str:
    smooth = _smoothed([line["loss"] for line in lines])
    held_out = [line["validation_loss"] for line in lines if _validated(line)]
    end = f", validation {held_out[-1]:.3g}" if held_out else ""
    return f"{stage} from {smooth[0]:.3g} to {smooth[-1]:.3g}{end}"


def growth(samples: Mapping[str, Sequence[Path]], species: Sequence[str]) -> Drawing | None:
    """A filmstrip: a row a species, and for each stage what the same noise became at its first, middle and last look.

    Args:
        samples: stage -> its sample grids "step-<number>.png" in order: a row a species, GRID_ROWS of them evenly
            spaced where there are more, square tiles without gaps.
        species: names in class order.
    """
    samples = {stage: paths for stage, paths in samples.items() if paths}
    if not samples or not species:
        return None
    looks = 3 if 3 * len(samples) <= STRIP else 2
    films = {stage: _moments(paths, looks) for stage, paths in samples.items()}
    rows = min(len(species), GRID_ROWS)
    names = [species[len(species) * row // rows] for row in range(rows)]
    moments = sum(map(len, films.values()))
    tiles = {path: _tiles(path, rows) for paths in films.values() for path in paths}
    seeds = min(max(1, STRIP // moments), *(found.shape[1] for found in tiles.values()), 4)
    names = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in names]
    left, head = 0.2 + 0.066 * max(map(len, names)), 0.42  # inches: room for the names, and for stages and steps
    gap, between, band = 1, 4, 12  # px between pictures, looks, stages
    white = gap * moments * (seeds - 1) + between * (moments - len(films)) + band * (len(films) - 1)
    side = min(96, int(((WIDTH - left) * DPI - white) / (moments * seeds)))
    width = moments * seeds * side + white
    sheet = np.full((rows * (side + gap) - gap, width, 3), 255, np.uint8)
    figure, (axis,) = canvas(head + sheet.shape[0] / DPI)
    figure.set_layout_engine("none")
    whole = figure.get_figheight()
    x = 0
    for stage, paths in films.items():
        axis.text(x, -0.24 * DPI, stage, va="bottom", size=9, weight="bold")
        for path in paths:
            axis.text(x, -0.06 * DPI, _short(_step(path)), va="bottom", size=7.5, color=MUTED)
            for row in range(rows):
                for seed in range(seeds):
                    top, place = row * (side + gap), x + seed * (side + gap)
                    sheet[top : top + side, place : place + side] = _at(tiles[path][row, seed], side)
            x += seeds * (side + gap) - gap + between
        x += band - between
    axis.set_position([left / WIDTH, 0, width / DPI / WIDTH, sheet.shape[0] / DPI / whole])
    axis.imshow(sheet, interpolation="nearest", aspect="auto")
    axis.axis("off")
    for row, name in enumerate(names):
        axis.text(-8, row * (side + gap) + side / 2, name, ha="right", va="center", style="italic", size=8)
    which = f"{rows} of {len(species)} species" if rows < len(species) else f"{rows} species"
    told = "; ".join(f"{stage} at step {', '.join(f'{_step(p):,}' for p in paths)}" for stage, paths in films.items())
    pictures = f"{seeds} pictures" if seeds > 1 else "one picture"
    return Drawing(
        figure,
        f"Sample pictures while the generator was trained, a row a species ({which}): {told}.",
        f"A row a species, in class order; stages from left to right in the order of training, each with {pictures} at "
        f"its {'first, middle' if looks == 3 else 'first'} and last look, optimiser steps of the stage above them. A row "
        "begins with the same noise everywhere, so what changes from left to right is what was learned, not chance. Drawn "
        "with averaged weights and few steps, for watching; the images that are judged come further down.",
        raster=True,
    )


def _moments(paths: Sequence[Path], looks: int) -> list[Path]:
    """The first and the last of them, and for three looks the middle one."""
    middle = [paths[(len(paths) - 1) // 2]] if looks == 3 else []
    return list(dict.fromkeys([paths[0], *middle, paths[-1]]))


def _short(step: int) -> str:
    return f"{step:,}" if step < 10_000 else f"{step / 1000:g}k"


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def _tiles(path: Path, rows: int) -> np.ndarray:
    """(rows, columns, side, side, 3) uint8 of a sample grid."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    side = pixels.shape[0] // rows
    columns = pixels.shape[1] // side
    pixels = pixels[: rows * side, : columns * side]
    return pixels.reshape(rows, side, columns, side, 3).transpose(0, 2, 1, 3, 4)


def _at(tile: np.ndarray, side: int) -> np.ndarray:
    """The tile at `side` px; averaged where it shrinks, its pixels kept visible where it grows."""
    if side == len(tile):
        return tile
    how = Image.Resampling.BOX if side < len(tile) else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(np.ascontiguousarray(tile)).resize((side, side), how))
