"""What each training image shows, in words: captions that prompts are made of."""

from collections.abc import Callable
from pathlib import Path

from taxaforge.errors import TaxaforgeError
from taxaforge.files import write_json
from taxaforge.packs import Pack

SOURCES = ("none", "table", "blip")


class NoCaptions(TaxaforgeError):
    """The captions that were asked for are not there."""


def describe(
    *,
    train: str | Path,
    cfg: dict,
    seed: int,
    out: str | Path,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
    device: str = "cpu",
    every_s: float = 5.0,
    state_dir: str | Path | None = None,
) -> None:
    """Writes `{"<identifier>": ["<caption>", ...]}` of all training images.

    Args:
        train: pack of the training images, the only ones that are ever described.
        cfg: `captions`: `table`, the words that came with the images; `blip`, what a captioner says
            (`captioner`: hub id or folder, `captioner_revision`, `candidates`: captions an image);
            `none`, one empty caption an image. `name`: of the method that wants them, for messages.
        seed: of the run.
        state_dir: keeps finished captions of `blip`, so that a killed job goes on from there.
        log: told the number of images, of distinct captions, and the mean number of words.
    Raises: NoCaptions; blip.NoCaptioner.
    """
    pack = Pack.load(train)
    if cfg["captions"] == "none":
        found = {identifier: [""] for identifier in pack.identifier}
    elif cfg["captions"] == "table":
        found = of_the_table(pack, cfg["name"])
    elif cfg["captions"] == "blip":
        from taxaforge.semantics import blip  # transformers takes seconds to import, and only this source needs it

        found = blip.captions(
            pack.pixels,
            pack.identifier,
            captioner=cfg["captioner"],
            revision=cfg["captioner_revision"],
            candidates=cfg["candidates"],
            seed=seed,
            device=device,
            every_s=every_s,
            state_dir=state_dir,
        )
    else:
        raise NoCaptions(
            f"{cfg['name']}: captions {cfg['captions']!r} is no source of captions. Choose from {', '.join(SOURCES)}."
        )
    write_json(out, found)
    texts = [text for captions in found.values() for text in captions]
    words = sum(len(text.split()) for text in texts) / max(1, len(texts))
    log(None, {"images": len(found), "distinct_captions": len(set(texts)), "words": words})


def of_the_table(pack: Pack, method: str) -> dict[str, list[str]]:
    """The captions that came with the images. Raises NoCaptions where one has none."""
    captions = {
        identifier: [" ".join(text.split())] for identifier, text in zip(pack.identifier, pack.caption, strict=True)
    }
    empty = [identifier for identifier, (text,) in captions.items() if not text]
    if empty:
        listed = ", ".join(empty[:3]) + (f" and {len(empty) - 3} more" if len(empty) > 3 else "")
        raise NoCaptions(
            f"{method} takes its captions from the table, but {len(empty)} of {len(captions)} training images have "
            f"none: {listed}. Fill the column `caption` of the collection, or set the method's `captions` to blip "
            "(a captioner describes the images) or none (prompts of the label alone)."
        )
    return captions
