"""Ask the models that a filter's checks need about generated images; those of checks that are off are not opened."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from taxaforge.errors import TaxaforgeError
from taxaforge.guidance import scores
from taxaforge.packs import Pack
from taxaforge.progress import Progress
from taxaforge.semantics.captions import caption

AT_ONCE = 64


class NoScorer(TaxaforgeError):
    """A check that is on has no model to ask, or one that was made for other species."""


def reads_images(cfg: dict) -> bool:
    """Whether a check of section `filter` asks the image-text model."""
    return bool(cfg["semantics"]["top_k"] or cfg["near_copy"] or cfg["near_repeat"])


class Scorer:
    """The scores of one method's images.

    Args:
        classes: records of classes.json. train: real training images. image_text: folder of the image-text model.
        guide: file of the guiding classifier. Both may be None where no check asks them. cfg: section `filter`.
    Raises: NoScorer.
    """

    def __init__(
        self,
        classes: list[dict],
        train: Pack,
        image_text: str | Path | None,
        guide: str | Path | None,
        cfg: dict,
        device: str = "cpu",
    ):
        self.cfg, self.species = cfg, [record["species"] for record in classes]
        self.label = {name: number for number, name in enumerate(self.species)}
        if train.classes != self.species:
            raise NoScorer("The training pack lists other species than classes.json. Remake the packs.")
        self.guide = self.eyes = None
        if cfg["classifier"]["top_k"]:
            if not guide:
                raise NoScorer("filter.classifier needs the guiding classifier. Train it, or set its top_k to 0.")
            from taxaforge.classification.predict import load, predict  # models are imported where a check asks them

            self.guide, self.named = load(guide, device), predict
            if self.guide.classes != self.species:
                raise NoScorer(f"{guide} was trained for another species list. Delete it and run again.")
        if reads_images(cfg):
            if not image_text:
                raise NoScorer(
                    "filter.semantics, near_copy and near_repeat need the image-text model. Make it, or set them to 0."
                )
            from taxaforge.semantics.model import load

            self.eyes = load(image_text, device=device)
            self.text = self.eyes.text(list(map(caption, classes))).numpy().astype(np.float64)
            self.scale = self.eyes.model.logit_scale.exp().item()
            self.rivals = scores.rivals(classes, cfg["semantics"]["among"])
        self.known = scores.Known(train, self._see(train.pixels) if cfg["near_copy"] else None)

    def measure(self, records: Sequence[dict], root: Path, every_s: float = 5.0) -> list[dict]:
        """Each record with the columns that IMAGES has for scores, None for those of checks that are off."""
        progress = Progress("scored", len(records), "images", every_s=every_s)
        rows, seen = [], []
        for start in range(0, len(records), AT_ONCE):
            batch = records[start : start + AT_ONCE]
            pixels = pixels_of([root / record["file_name"] for record in batch])
            own = np.array([self.label[record["scientificName"]] for record in batch])
            feature = None if self.eyes is None else self._see(pixels)
            columns = {
                "filterScore": None,
                "filterRank": None,
                "classifierScore": None,
                "classifierRank": None,
                "repeatSimilarity": None,
                "contrast": scores.contrast(pixels),
                "clipped": scores.clipped(pixels),
            }
            if self.cfg["semantics"]["top_k"]:
                logits = self.scale * feature.astype(np.float64) @ self.text.T
                columns["filterScore"], columns["filterRank"] = scores.standing(logits, own, self.rivals)
            if self.guide is not None:
                logits = np.log(np.maximum(self.named(self.guide, pixels), np.finfo(np.float64).tiny))
                columns["classifierScore"], columns["classifierRank"] = scores.standing(logits, own)
            near = self.known.columns(pixels, feature if self.cfg["near_copy"] else None)
            for place, record in enumerate(batch):
                measured = {name: None if v is None else v[place].item() for name, v in columns.items()}
                rows.append({**record, **measured, **near[place]})
            seen.append(feature)
            progress(len(rows))
        if self.cfg["near_repeat"]:
            label = np.array([self.label[row["scientificName"]] for row in rows])
            for row, similarity in zip(rows, scores.repeats(np.concatenate(seen), label), strict=True):
                row["repeatSimilarity"] = similarity
        return rows

    def summary(self, rows: Sequence[dict]) -> dict[str, float]:
        """What the scores say of a whole method, for the checks that are on."""
        out = {}
        if self.cfg["semantics"]["top_k"]:
            out["filter_top1"] = sum(row["filterRank"] == 1 for row in rows) / len(rows)
        if self.guide is not None:
            out["classifier_top1"] = sum(row["classifierRank"] == 1 for row in rows) / len(rows)
        if self.cfg["near_copy"]:
            out["near_copy_real"] = self.known.false_alarms(self.cfg["near_copy"])
        return out

    def _see(self, pixels: np.ndarray) -> np.ndarray:
        """(N, d) unit vectors, pictures read a few at a time."""
        starts = range(0, len(pixels), AT_ONCE)
        return np.concatenate([self.eyes.image(pixels[start : start + AT_ONCE]).numpy() for start in starts])


def pixels_of(files: Sequence[Path]) -> np.ndarray:
    """(N, H, W, 3) uint8 RGB of images of one size."""
    images = []
    for file in files:
        with Image.open(file) as image:
            images.append(np.asarray(image.convert("RGB")))
    return np.stack(images)
