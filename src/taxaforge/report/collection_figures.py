"""What went into the generator and what came out of it: tree, splits, images beside real ones."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from taxaforge.packs import Pack
from taxaforge.report.style import BAND, GRID, INK, MUTED, SPLITS, Drawing, canvas, listed

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
TILE = 64  # px of a sample on the contact sheet
MOST_ROWS = 40  # species on the contact sheet
METHODS_ABREAST = 3  # on the contact sheet, so that a picture is seen on a page
GAP, BETWEEN, HEAD = 3, 18, 34  # px of the contact sheet: between tiles, between groups, above a band


def tree(classes: Sequence[Mapping]) -> Drawing | None:
    """The taxonomic tree of the species. classes: the records of classes.json, sorted by lineage."""
    if not classes:
        return None
    shown = _ranks_to_show(classes)
    figure, (axis,) = canvas(max(1.4, 0.26 * len(classes) + 0.6))
    place: dict[tuple, list[int]] = {}
    for row, record in enumerate(classes):
        for depth in range(len(shown)):
            known = tuple(record.get(rank) for rank in shown[: depth + 1])
            if known[-1]:
                place.setdefault(known, []).append(row)
    centre = {node: (min(rows) + max(rows)) / 2 for node, rows in place.items()}
    for node, rows in place.items():
        depth = len(node) - 1
        above = next((node[:d] for d in range(depth, 0, -1) if node[:d] in centre), None)
        x0 = len(above) - 1 if above else depth
        if above:
            axis.plot([x0, x0, depth], [centre[above], centre[node], centre[node]], color="#9a9a9a", lw=1)
        if node[-1] and shown[depth] == "species":
            common = classes[rows[0]].get("vernacularName")
            label = f"{node[-1]}" + (f"  ({common})" if common else "")
            axis.annotate(
                label, (depth, centre[node]), (5, 0), textcoords="offset points", va="center", style="italic", size=8.5
            )
        else:
            axis.annotate(
                str(node[-1]), (depth, centre[node]), (3, 3), textcoords="offset points", size=7.5, color=MUTED
            )
    axis.set_xticks(range(len(shown)), shown)
    axis.xaxis.set_ticks_position("top")
    axis.tick_params(length=0)
    axis.set_yticks([])
    axis.set_xlim(-0.05, len(shown) - 1 + 2.6 * len(shown) / 6)
    axis.set_ylim(len(classes) - 0.4, -0.9)
    axis.spines[:].set_visible(False)
    groups = {rank: len({record.get(rank) for record in classes if record.get(rank)}) for rank in RANKS}
    counts = ", ".join(f"{groups[rank]} {_plural(rank, groups[rank])}" for rank in ("order", "family", "genus"))
    return Drawing(
        figure,
        f"Tree of {len(classes)} species in {counts}: {listed([str(record['species']) for record in classes], 40)}.",
        "Ranks run from coarse (left) to fine (right). The generator is trained rank by rank along this tree.",
    )


def _plural(rank: str, n: int) -> str:
    return rank if n == 1 else {"family": "families", "genus": "genera"}.get(rank, f"{rank}s")


def _ranks_to_show(classes: Sequence[Mapping]) -> list[str]:
    """From the finest rank that all species share down to the species."""
    shared = [rank for rank in RANKS[:-1] if len({record.get(rank) for record in classes}) == 1]
    first = RANKS.index(shared[-1]) if shared else 0
    used = [rank for rank in RANKS[first:] if any(record.get(rank) for record in classes)]
    return used if len(used) > 1 else ["species"]


def splits(rows: Sequence[Mapping], species: Sequence[str]) -> Drawing | None:
    """Images a species and split. rows: splits.parquet; species: class order."""
    if not rows or not species:
        return None
    counts = Counter((row["scientificName"], row["split"]) for row in rows)
    used = [name for name in SPLITS if any(counts[s, name] for s in species)]
    figure, (axis,) = canvas(max(1.6, 0.24 * len(species) + 1.0))
    left = np.zeros(len(species))
    total = max(sum(counts[s, name] for name in used) for s in species)
    for name in used:
        width = np.array([counts[s, name] for s in species])
        axis.barh(range(len(species)), width, left=left, color=SPLITS[name], height=0.72, label=name)
        dark = name in ("train", "test")
        for row, (start, n) in enumerate(zip(left, width, strict=True)):
            if n >= 0.03 * total:
                axis.text(start + n / 2, row, str(n), ha="center", va="center", size=7, color="white" if dark else INK)
        left += width
    axis.set_yticks(range(len(species)), species, style="italic")
    axis.set_ylim(len(species) - 0.4, -0.6)
    axis.set_xlabel("real images (number)")
    axis.grid(axis="x", color=GRID, lw=0.6)
    axis.tick_params(axis="y", length=0)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper left", ncols=len(used))
    sums = {name: sum(counts[s, name] for s in species) for name in used}
    return Drawing(
        figure,
        "Images by split: " + ", ".join(f"{name} {n}" for name, n in sums.items()) + f", over {len(species)} species.",
        "Generator and classifiers learn from train; validation decides when to stop; test is opened once, for the "
        "accuracies below; reserve trains the independent judge of generated images.",
    )


def samples(real: Pack, generated: Mapping[str, Pack], species: Sequence[str], each: int = 4) -> Drawing | None:
    """Rows of real training images beside generated ones. real, generated: packs with pixels, label, identifier."""
    if not species or not len(real.label):
        return None
    rows = range(len(species))
    if len(species) > MOST_ROWS:
        rows = [len(species) * i // MOST_ROWS for i in range(MOST_ROWS)]
    methods = list(generated.items())
    starts = range(0, max(len(methods), 1), METHODS_ABREAST)
    bands = [{"real": real, **dict(methods[start : start + METHODS_ABREAST])} for start in starts]
    pitch, block = TILE + GAP, each * (TILE + GAP) + BETWEEN
    width, height = len(bands[0]) * block - BETWEEN, len(rows) * pitch + HEAD
    sheet = np.full((len(bands) * height, width, 3), 255, np.uint8)
    for band, groups in enumerate(bands):
        for column, pack in enumerate(groups.values()):
            for line, index in enumerate(rows):
                top, left = band * height + HEAD + line * pitch, column * block
                for k, tile in enumerate(_tiles(pack, index, each)):
                    sheet[top : top + TILE, left + k * pitch : left + k * pitch + TILE] = tile
    names, dpi = 190, 100
    figure, (axis,) = canvas(sheet.shape[0] / dpi, width=(width + names) / dpi)
    figure.set_layout_engine("none")
    axis.set_position([names / (width + names), 0, width / (width + names), 1])
    axis.imshow(sheet, interpolation="nearest", aspect="auto")
    axis.axis("off")
    for band, groups in enumerate(bands):
        top = band * height + HEAD
        for line, index in enumerate(rows):
            middle = top + line * pitch + TILE / 2
            axis.text(-8, middle, species[index], ha="right", va="center", style="italic", size=9)
        for column, name in enumerate(groups):
            label = "real (train)" if name == "real" else name
            axis.text(column * block, top - 8, label, ha="left", va="bottom", size=10, weight="bold")
    which = f"{len(rows)} of {len(species)} species" if len(rows) < len(species) else f"{len(species)} species"
    return Drawing(
        figure,
        f"Contact sheet, a row a species ({which}): {each} real training images, then {each} kept images each of "
        f"{listed(list(generated)) or 'no method'}.",
        "Images are not chosen for looks: the first of each species by identifier. An empty tile: the method has no "
        "further image of the species that passed the filter.",
        raster=True,
    )


def _tiles(pack: Pack, label: int, each: int) -> list[np.ndarray]:
    """The first images of a species by identifier, crosses where it has fewer."""
    mine = np.flatnonzero(np.asarray(pack.label) == label)
    mine = sorted(mine, key=lambda i: pack.identifier[i])[:each]
    return [_tile(np.asarray(pack.pixels[i])) for i in mine] + [_nothing()] * (each - len(mine))


def _tile(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 at TILE px: small images show their pixels, large ones are averaged."""
    image = Image.fromarray(pixels)
    return np.asarray(image.resize((TILE, TILE), Image.NEAREST if image.width < TILE else Image.LANCZOS))


def _nothing() -> np.ndarray:
    tile = np.full((TILE, TILE, 3), int(BAND[1:3], 16), np.uint8)
    line = np.arange(TILE // 4, 3 * TILE // 4)
    tile[line, line] = tile[line, TILE - 1 - line] = 190
    return tile
