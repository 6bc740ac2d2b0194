"""Prompts that begin with the label and end where the text encoder stops reading."""

from collections.abc import Callable

from taxaforge.diffusion.pretrained import Pipeline
from taxaforge.semantics.model import Semantics

Fits = Callable[[str], bool]
"""Does an encoder read all of a sentence?"""


def fits(tower: Semantics | Pipeline, length: int) -> Fits:
    """For the tower of an Encoder that reads `length` tokens, those around a sentence included."""
    if isinstance(tower, Semantics):
        return lambda text: _read_whole(tower, text, length)
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(tower.folder / "tokenizer", local_files_only=True)
    asked = {"truncation": True, "max_length": length + 1}  # it warns of anything longer than the model reads
    return lambda text: len(tokenizer(text, **asked).input_ids) <= length


def _read_whole(tower: Semantics, text: str, length: int) -> bool:
    """Whether a further word would still be noticed with one token more; so no tokenizer's insides need be known."""
    alone, more = tower.tokenizer([text, f"{text} x"], context_length=length + 1)
    return not alone.equal(more)


def prompt(label: str, caption: str, fits: Fits) -> str:
    """`"<label>, <caption>"` with as many of the caption's first words as fit; the label is never cut for a caption.

    >>> prompt("species: Parus major", "a bird on a branch", lambda text: len(text.split()) <= 6)
    'species: Parus major, a bird on'
    """
    words = caption.split()
    whole = _joined(label, words)
    if fits(whole):
        return whole
    known, too_long = (
        0,
        len(words),
    )  # a sentence of `known` words fits or is the label alone; one of `too_long` does not
    while too_long - known > 1:
        middle = (known + too_long) // 2
        known, too_long = (middle, too_long) if fits(_joined(label, words[:middle])) else (known, middle)
    return _joined(label, words[:known])


def _joined(label: str, words: list[str]) -> str:
    return ", ".join(part for part in (label, " ".join(words).rstrip(" ,;")) if part)
