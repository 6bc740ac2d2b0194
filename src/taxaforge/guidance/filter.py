"""Gather a method's shards and decide, image by image, what goes into training.

Nothing is deleted: a dropped image keeps its file, its scores and the reason. Beside the kept images
stands a control of the same size a species, drawn blindly: a filter has helped only where training
with its images beats training with those.
"""

import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from taxaforge import tables
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_json
from taxaforge.guidance.decisions import checks, decide, lottery
from taxaforge.guidance.schema import IMAGES
from taxaforge.guidance.scorer import Scorer, pixels_of
from taxaforge.guidance.shards import merge
from taxaforge.guidance.sheet import Row, contact_sheet
from taxaforge.packs import Pack


class NothingKept(TaxaforgeError):
    """The filter dropped every image of a method."""


def gather(
    *,
    shards: Sequence[str | Path],
    semantics: str | Path | None,
    classes: str | Path,
    train: str | Path,
    guide: str | Path | None = None,
    method: str,
    cfg: dict,
    out: str | Path,
    out_pack: str | Path,
    out_control: str | Path,
    out_sheet: str | Path,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
    device: str = "cpu",
    every_s: float = 5.0,
) -> None:
    """Merge the shards of a method, score every image, drop what fails a check, write what is kept.

    Args:
        shards: folders written by `generate`, in any order; the run's seed stands in them.
        semantics: folder of the image-text model; None where no check asks it (see `scorer.reads_images`).
        train: pack of the real training images, the only ones that an image is compared with.
        guide: the guiding classifier, for the check `classifier`; trained on the training split alone.
        cfg: section `filter`.
        out: table IMAGES, every image in the run's order. out_pack: the kept ones, caption = prompt.
        out_control: as many images a species, dropped at random instead.
        log: told the ledger: images = kept + each reason.
    Raises: ShardsDoNotFit naming what is missing, doubled or strange; NoScorer; NothingKept.
    """
    classes = read_json(classes)
    species = [record["species"] for record in classes]
    root = Path(out).parent
    records, seed = merge(shards, species, method, root)
    scorer = Scorer(classes, Pack.load(train), semantics, guide, cfg, device)
    rows = lottery(decide(scorer.measure(records, root, every_s), checks(cfg)), seed)

    ledger = Counter(row["reason"] or "kept" for row in rows)
    if not ledger["kept"]:
        raise NothingKept(
            f"The filter dropped all {len(rows)} images of {method}: "
            f"{', '.join(f'{count} by filter.{reason}' for reason, count in sorted(ledger.items()))}. "
            f"Look at a few in {shards[0]}; then loosen these settings, or train the diffusion stages longer."
        )
    asked = {row["scientificName"] for row in rows}
    lost = sorted(asked - {row["scientificName"] for row in rows if row["kept"]}, key=species.index)
    if lost:
        logging.getLogger(__name__).warning(
            "%s: the filter left no image of %d of %d species: %s", method, len(lost), len(asked), ", ".join(lost)
        )
    tables.write(IMAGES, [{name: row[name] for name in IMAGES.columns} for row in rows], out)
    save_pack([row for row in rows if row["kept"]], species, root, out_pack)
    save_pack([row for row in rows if row["control"]], species, root, out_control)
    contact_sheet(_sheet_rows(rows, species, root), f"{method}: {ledger['kept']} of {len(rows)} kept", out_sheet)
    log(
        None,
        {
            "images": len(rows),
            "kept": ledger["kept"],
            **{f"dropped_{reason}": ledger[reason] for reason in checks(cfg)},
            "species_without_images": len(lost),
            **scorer.summary(rows),
        },
    )


def save_pack(rows: Sequence[dict], species: Sequence[str], root: Path, path: str | Path) -> None:
    """The images of `rows` as a Pack; a group is one image, since no two share an observation.

    An image that also shows another species (`other`, with the rest of `share`) has a soft label.
    """
    path, label = Path(path), {name: number for number, name in enumerate(species)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".packing-") as folder:
        shape = (len(rows), *pixels_of([root / rows[0]["file_name"]]).shape[1:])
        pixels = np.lib.format.open_memmap(Path(folder, "pixels.npy"), "w+", dtype=np.uint8, shape=shape)
        for number, row in enumerate(rows):
            pixels[number] = pixels_of([root / row["file_name"]])[0]
        Pack(
            pixels=pixels,
            classes=list(species),
            identifier=[row["identifier"] for row in rows],
            label=np.array([label[row["scientificName"]] for row in rows], dtype=np.int64),
            group=[row["identifier"] for row in rows],
            caption=[row["prompt"] for row in rows],
            other=np.array([-1 if row["other"] is None else label[row["other"]] for row in rows], dtype=np.int64),
            share=np.array([1.0 if row["other"] is None else row["share"] for row in rows]),
        ).save(path)


def _sheet_rows(rows: Sequence[dict], species: Sequence[str], root: Path) -> list[Row]:
    of = {name: Row(name, [], []) for name in species}
    for row in rows:
        of[row["scientificName"]].images.append(root / row["file_name"])
        of[row["scientificName"]].kept.append(row["kept"])
    return list(of.values())
