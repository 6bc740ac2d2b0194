"""Gather a method's shards and decide, image by image, what goes into training.

Nothing is deleted: a dropped image keeps its file, its scores and the reason.
"""

import logging
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from taxaforge import tables
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_json, read_lines
from taxaforge.guidance.schema import IMAGES
from taxaforge.guidance.sheet import Row, contact_sheet
from taxaforge.guidance.worklist import worklist
from taxaforge.packs import Pack
from taxaforge.progress import Progress
from taxaforge.semantics.captions import caption
from taxaforge.semantics.model import load

AT_ONCE = 64
GREY = np.array([0.299, 0.587, 0.114])

Check = Callable[[dict], bool]
"""A measured image -> True where the check drops it."""


class ShardsDoNotFit(TaxaforgeError):
    """The shards are not, together, what the method was asked to draw."""


class NothingKept(TaxaforgeError):
    """The filter dropped every image of a method."""


def gather(
    *,
    shards: Sequence[str | Path],
    semantics: str | Path,
    classes: str | Path,
    method: str,
    cfg: dict,
    out: str | Path,
    out_pack: str | Path,
    out_sheet: str | Path,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
    device: str = "cpu",
    every_s: float = 5.0,
) -> None:
    """Merge the shards of a method, score every image, drop what fails a check, write what is kept.

    Args:
        shards: folders written by `generate`, in any order.
        semantics: folder of the image-text model.
        cfg: section `filter`: `method` (none | semantics), `top_k`, `min_contrast` (grey levels, 0..255).
        out: table IMAGES, every image in the run's order. out_pack: the kept ones, caption = prompt.
        log: told the ledger: images = kept + each reason.
    Raises: ShardsDoNotFit naming what is missing, doubled or strange; NothingKept.
    """
    classes = read_json(classes)
    species = [record["species"] for record in classes]
    root = Path(out).parent
    records = merge(shards, species, method, root)
    measured = measure(records, species, list(map(caption, classes)), semantics, root, device, every_s)
    rows = decide(measured, checks(cfg))

    ledger = Counter(row["reason"] or "kept" for row in rows)
    if not ledger["kept"]:
        raise NothingKept(
            f"The filter dropped all {len(rows)} images of {method}: "
            f"{', '.join(f'{count} by filter.{reason}' for reason, count in sorted(ledger.items()))}. "
            f"Look at a few in {shards[0]}; then loosen these settings, or train the diffusion stages longer."
        )
    lost = sorted(set(species) - {row["scientificName"] for row in rows if row["kept"]}, key=species.index)
    if lost:
        logging.getLogger(__name__).warning(
            "%s: the filter left no image of %d of %d species: %s", method, len(lost), len(species), ", ".join(lost)
        )
    tables.write(IMAGES, [{name: row[name] for name in IMAGES.columns} for row in rows], out)
    save_pack([row for row in rows if row["kept"]], species, root, out_pack)
    contact_sheet(_sheet_rows(rows, species, root), f"{method}: {ledger['kept']} of {len(rows)} kept", out_sheet)
    log(
        None,
        {
            "images": len(rows),
            "kept": ledger["kept"],
            **{f"dropped_{reason}": ledger[reason] for reason in checks(cfg)},
            "species_without_images": len(lost),
            "filter_top1": sum(row["filterRank"] == 1 for row in rows) / len(rows),
        },
    )


def merge(shards: Sequence[str | Path], species: Sequence[str], method: str, root: Path) -> list[dict]:
    """All records in the run's order, `file_name` relative to `root`. Raises ShardsDoNotFit."""
    asked = [read_json(Path(folder) / "shard.json") for folder in shards]
    common = [{name: value for name, value in note.items() if name != "shard"} for note in asked]
    strange = [folder for folder, note in zip(shards, common, strict=True) if note != common[0]]
    if strange or common[0]["method"] != method or common[0]["species"] != list(species):
        raise ShardsDoNotFit(
            f"{strange[0] if strange else shards[0]} was drawn for other settings, species or another method than the "
            f"rest of {method}. Delete the shards of {method} and run again."
        )
    records: dict[str, dict] = {}
    for folder in map(Path, shards):
        for record in read_lines(folder / "records.jsonl"):
            if record["identifier"] in records:
                raise ShardsDoNotFit(
                    f"{record['identifier']} was drawn twice, the second time in {folder}. "
                    f"Delete the shards of {method} and run again."
                )
            file = folder / record["file_name"]
            if not file.is_file():
                raise ShardsDoNotFit(f"{record['identifier']} has no file {file}. Delete {folder} and run again.")
            records[record["identifier"]] = {**record, "file_name": Path(os.path.relpath(file, root)).as_posix()}
    expected = [
        item.identifier for item in worklist(species, common[0]["cfg"]["images_per_species"], method, common[0]["seed"])
    ]
    for wrong, word in ((set(expected) - set(records), "missing"), (set(records) - set(expected), "not asked for")):
        if wrong:
            listed = ", ".join(sorted(wrong)[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
            raise ShardsDoNotFit(
                f"{len(wrong)} image(s) of {method} are {word}: {listed}. Delete the shards of {method} and run again."
            )
    return [records[identifier] for identifier in expected]


def measure(
    records: Sequence[dict],
    species: Sequence[str],
    captions: Sequence[str],
    semantics: str | Path,
    root: Path,
    device: str = "cpu",
    every_s: float = 5.0,
) -> list[dict]:
    """Each record with filterScore, filterRank and contrast, see IMAGES."""
    model, label = load(semantics, device=device), {name: number for number, name in enumerate(species)}
    text, scale = model.text(list(captions)), model.model.logit_scale.exp().item()
    progress = Progress("scored", len(records), "images", every_s=every_s)
    rows = []
    for start in range(0, len(records), AT_ONCE):
        batch = records[start : start + AT_ONCE]
        pixels = _pixels([root / record["file_name"] for record in batch])
        own = torch.tensor([label[record["scientificName"]] for record in batch])
        score, rank = agreement(model.image(pixels), text, own, scale)
        contrast = (pixels @ GREY).std(axis=(1, 2))
        found = zip(batch, score.tolist(), rank.tolist(), contrast.tolist(), strict=True)
        rows += [{**record, "filterScore": p, "filterRank": r, "contrast": c} for record, p, r, c in found]
        progress(len(rows))
    return rows


def agreement(
    image: torch.Tensor, text: torch.Tensor, own: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """How well images agree with their own class, among all classes.

    Args:
        image: (N, d), text: (C, d), unit norm. own: (N,) index of each image's class. scale: the
            model's logit scale (1 / temperature).
    Returns:
        probability (N,) in 0..1, and rank (N,), 1 for first; a tie, or a number
        that is none, counts against the image.
    """
    logits = (scale * image.double() @ text.double().T).cpu()
    mine = logits.gather(1, own[:, None])
    return logits.softmax(1).gather(1, own[:, None])[:, 0], (~(logits < mine)).sum(1)


def checks(cfg: dict) -> dict[str, Check]:
    """What may drop an image, in order. A check's name is its setting, the reason in the table and its line in the ledger."""
    active: dict[str, Check] = {"min_contrast": lambda row: row["contrast"] < cfg["min_contrast"]}
    if cfg["method"] == "semantics":
        active["top_k"] = lambda row: row["filterRank"] > cfg["top_k"]
    return active


def decide(rows: Sequence[dict], checks: Mapping[str, Check]) -> list[dict]:
    """Each row with `reason`, the first check that drops it ("" where none does), and `kept`."""
    reasons = [next((name for name, drops in checks.items() if drops(row)), "") for row in rows]
    return [{**row, "kept": not reason, "reason": reason} for row, reason in zip(rows, reasons, strict=True)]


def save_pack(rows: Sequence[dict], species: Sequence[str], root: Path, path: str | Path) -> None:
    """The images of `rows` as a Pack; a group is one image, since no two share an observation."""
    path, label = Path(path), {name: number for number, name in enumerate(species)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".packing-") as folder:
        shape = (len(rows), *_pixels([root / rows[0]["file_name"]]).shape[1:])
        pixels = np.lib.format.open_memmap(Path(folder, "pixels.npy"), "w+", dtype=np.uint8, shape=shape)
        for number, row in enumerate(rows):
            pixels[number] = _pixels([root / row["file_name"]])[0]
        Pack(
            pixels=pixels,
            classes=list(species),
            identifier=[row["identifier"] for row in rows],
            label=np.array([label[row["scientificName"]] for row in rows], dtype=np.int64),
            group=[row["identifier"] for row in rows],
            caption=[row["prompt"] for row in rows],
        ).save(path)


def _pixels(files: Sequence[Path]) -> np.ndarray:
    """(N, H, W, 3) uint8 RGB of images of one size."""
    images = []
    for file in files:
        with Image.open(file) as image:
            images.append(np.asarray(image.convert("RGB")))
    return np.stack(images)


def _sheet_rows(rows: Sequence[dict], species: Sequence[str], root: Path) -> list[Row]:
    of = {name: Row(name, [], []) for name in species}
    for row in rows:
        of[row["scientificName"]].images.append(root / row["file_name"])
        of[row["scientificName"]].kept.append(row["kept"])
    return list(of.values())
