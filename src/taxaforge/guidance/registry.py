"""The methods by name: add a method's file under `methods/`, and its line here and in `config/guidance.py`."""

from typing import Protocol

from torch import Tensor

from taxaforge.guidance.methods import cfg, taxadiffusion
from taxaforge.guidance.terms import Term


class Method(Protocol):
    """A module under `methods/`.

    EVIDENCE says what the implementation rests on and is printed beside every result: `code` (the
    authors' code was read), `note` (a third party's note of the paper), `standard` (textbook),
    `reconstruction` (ours; a result says nothing about the published method).
    """

    EVIDENCE: str

    def recipe(self, backbone, label: Tensor, cfg: dict) -> Term: ...


METHODS: dict[str, Method] = {"cfg": cfg, "taxadiffusion": taxadiffusion}
