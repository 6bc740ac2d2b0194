"""A captioner looks at images: BLIP (arXiv:2201.12086) through transformers, every draw tied to its image."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import BlipForConditionalGeneration, BlipProcessor, LogitsProcessor, LogitsProcessorList

from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_json, write_json
from taxaforge.progress import Progress
from taxaforge.seeds import seed_of

TOP_P = 0.9
LONGEST, SHORTEST = 20, 5
"""Word pieces of a caption; [recon], as the captioner is usually asked."""
BATCH = 8

Caption = Callable[[np.ndarray, Sequence[Sequence[int]]], list[list[str]]]
"""uint8 pictures (B, H, W, 3), and for each of them the seeds of its captions -> the captions."""


class NoCaptioner(TaxaforgeError):
    """The captioner cannot be opened."""


def captions(
    pixels: np.ndarray,
    identifiers: Sequence[str],
    *,
    captioner: str,
    revision: str,
    candidates: int,
    seed: int,
    device: str = "cpu",
    every_s: float = 5.0,
    state_dir: str | Path | None = None,
    batch: int = BATCH,
) -> dict[str, list[str]]:
    """Up to `candidates` distinct captions of each image, in the order in which they were drawn.

    Args:
        pixels: (N, H, W, 3) uint8 RGB. identifiers: (N).
        seed: of the run; a caption's own seed comes from it, the identifier and the candidate's number.
        state_dir: keeps finished batches, and is emptied at the end; None: a kill starts afresh.
        batch: images at once; changes a caption only where two words are equally likely up to rounding.
    Raises: NoCaptioner.
    """
    batches = [range(first, min(first + batch, len(identifiers))) for first in range(0, len(identifiers), batch)]
    asked = {"captioner": captioner, "revision": revision, "candidates": candidates, "seed": seed, "batch": batch}
    state = None if state_dir is None else _state(Path(state_dir), {**asked, "images": list(identifiers)})
    found, caption = {}, None
    progress = Progress("captions", len(identifiers), "images", every_s=every_s)
    for number, places in enumerate(batches):
        kept = state / f"{number}.json" if state else None
        if kept and kept.is_file():
            found |= read_json(kept)
            continue
        caption = caption or opened(captioner, revision, device)
        names = [identifiers[place] for place in places]
        seeds = [[seed_of(seed, "caption", name, candidate) for candidate in range(candidates)] for name in names]
        said = caption(pixels[places.start : places.stop], seeds)
        now = {name: _distinct(texts) for name, texts in zip(names, said, strict=True)}
        if kept:
            write_json(kept, now)
        found |= now
        progress(len(found))
    if state:
        shutil.rmtree(state)
    return found


def opened(captioner: str, revision: str, device: str = "cpu") -> Caption:
    """The captioner in a local folder or of a hub id, float32. Raises NoCaptioner.

    Weights are read from safetensors alone: a pickle can run code, and is never opened.
    """
    folder = Path(captioner).expanduser()
    source = folder.resolve() if captioner and folder.is_dir() else captioner
    try:
        where = {"local_files_only": True} if isinstance(source, Path) else {"revision": revision}
        processor = BlipProcessor.from_pretrained(source, **where)
        model, info = BlipForConditionalGeneration.from_pretrained(
            source, use_safetensors=True, output_loading_info=True, **where
        )
    except (OSError, ValueError, RuntimeError, TypeError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise NoCaptioner(
            f"The captioner {captioner!r} (revision {revision}) cannot be opened: {reason}. It has to be a BLIP "
            "captioning model with its processor and with model.safetensors; many hub repositories hold a pickle on "
            "`main` and safetensors on a revision such as refs/pr/<n>. Correct the method's `captioner` or "
            "`captioner_revision`, check the network or HF_HOME, or set `captions` to table or none."
        ) from error
    if info["missing_keys"]:  # these would stay random, and only a warning would say so
        raise NoCaptioner(
            f"The weights of the captioner {captioner!r} lack {len(info['missing_keys'])} parameters, "
            f"{sorted(info['missing_keys'])[0]} among them. It is no BLIP captioning model, or the copy is damaged: "
            "choose another `captioner`, or copy it again."
        )
    model = model.float().eval().requires_grad_(False).to(device)

    @torch.inference_mode()
    def caption(pixels: np.ndarray, seeds: Sequence[Sequence[int]]) -> list[list[str]]:
        shown = processor.image_processor(images=list(np.array(pixels)), return_tensors="pt").pixel_values
        each = [len(own) for own in seeds]
        rows = shown.repeat_interleave(torch.tensor(each), dim=0).to(device)
        pick = SeededNucleus([seed for own in seeds for seed in own], TOP_P)
        ids = model.generate(
            rows,
            do_sample=False,
            num_beams=1,
            max_new_tokens=LONGEST,
            min_new_tokens=SHORTEST,
            logits_processor=LogitsProcessorList([pick]),
        )
        # The first piece says that a caption begins; the published tokenisers have no word for it.
        texts = iter(processor.tokenizer.batch_decode(ids[:, 1:].cpu(), skip_special_tokens=True))
        return [[" ".join(next(texts).split()) for _ in own] for own in seeds]

    return caption


class SeededNucleus(LogitsProcessor):
    """Nucleus sampling in which every row of a batch has its own generator.

    transformers draws all rows from one global generator, so that a caption would depend on its neighbours.
    Here a row draws one uniform number a word, and all but the word that it picks is ruled out; with greedy
    decoding that word is taken.

    Args:
        seeds: one a row. top_p: the most likely words are kept until their probability reaches this share.
    Source: Holtzman et al. 2020 (arXiv:1904.09751), Sec. 3.1.
    """

    def __init__(self, seeds: Sequence[int], top_p: float):
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]  # a GPU's would give other numbers
        self.top_p = top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(B, n) word pieces so far, (B, V) logits -> (B, V), 0 at the picked word, -inf elsewhere."""
        share, order = scores.double().softmax(-1).sort(dim=-1, descending=True, stable=True)
        before = share.cumsum(-1) - share
        share = share.where(before < self.top_p, 0.0)
        reached = share.cumsum(-1)
        draw = torch.cat([torch.rand(1, generator=own, dtype=torch.float64) for own in self.generators])
        draw = draw.to(scores.device)[:, None] * reached[:, -1:]
        picked = order.gather(1, torch.searchsorted(reached, draw, right=True).clamp(max=scores.shape[1] - 1))
        return torch.full_like(scores, -torch.inf).scatter(1, picked, 0.0)


def _distinct(texts: Sequence[str]) -> list[str]:
    """Captions that say something, each once; one empty caption where none does."""
    return list(dict.fromkeys(text for text in texts if text)) or [""]


def _state(folder: Path, asked: dict) -> Path:
    """Where finished batches lie; those of another request are removed."""
    place = folder / "captions"
    note = place / "asked.json"
    if place.exists() and not (note.is_file() and read_json(note) == asked):
        shutil.rmtree(place)
    write_json(note, asked)
    return place
