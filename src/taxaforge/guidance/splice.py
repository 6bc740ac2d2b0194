"""A token of its own in a frozen text encoder: its row takes the place of a word's, and nothing else changes.

The row is spliced into what the token embedding gives, at the place where a prompt has the word that the row starts
from. Ids stay as they are, so an encoder that pools at the largest one still finds the end of the text there
(methods.md 4.4), and the vocabulary is not resized.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from taxaforge.diffusion.pretrained import Pipeline
from taxaforge.errors import TaxaforgeError
from taxaforge.semantics.model import Semantics, token_states

TOKEN = "{token}"
"""Where a prompt has its token."""
NAMES = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}
"""What files of SDXL tokens call the two encoders."""
OTHER_WORDS = ("the", "a")


class NoPlace(TaxaforgeError):
    """The word that a token starts from does not stand at one place of its prompt."""


@contextmanager
def spliced(table: nn.Module, place: Tensor, rows: Tensor) -> Iterator[None]:
    """While the block runs, an embedding answers `rows` (B, d) at `place` (B, n) bool, and its own rows elsewhere."""

    def answer(module: nn.Module, asked: tuple, given: Tensor) -> Tensor:
        return torch.where(place[:, :, None], rows[:, None].to(given.dtype), given)

    hook = table.register_forward_hook(answer)
    try:
        yield
    finally:
        hook.remove()


class OpenClip:
    """The text tower of an image-text model, which the small generator reads."""

    def __init__(self, semantics: Semantics, device: str | torch.device):
        self.tokenizer, self.tower = semantics.tokenizer, semantics.tower.to(device)
        self.device = torch.device(device)

    @property
    def tables(self) -> dict[str, nn.Module]:
        """Token embeddings by the name of their encoder."""
        return {"tower": self.tower.token_embedding}

    @property
    def encoders(self) -> list[nn.Module]:
        return [self.tower]

    def ids(self, strings: Sequence[str]) -> list[Tensor]:
        """(S, n) ids, one for each table."""
        return [self.tokenizer(list(strings)).to(self.device)]

    def states(self, ids: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """(S, n, d) states, and (S, p) sentence vectors where the generator reads some."""
        return token_states(self.tower, ids[0]), None


class PipelineText:
    """The text encoders of a pipeline, one or two, as `Pipeline.text` reads with them."""

    def __init__(self, pipeline: Pipeline, device: str | torch.device):
        from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

        kinds = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
        here = {"local_files_only": True}
        self.device, self.names, self.encoders, self.tokenizers = torch.device(device), pipeline.texts, [], []
        for name in self.names:
            encoder = kinds[name].from_pretrained(pipeline.folder / name, use_safetensors=True, **here)
            self.encoders.append(encoder.float().eval().requires_grad_(False).to(device))
            tokenizer = name.replace("text_encoder", "tokenizer")
            self.tokenizers.append(CLIPTokenizer.from_pretrained(pipeline.folder / tokenizer, **here))

    @property
    def tables(self) -> dict[str, nn.Module]:
        return {name: encoder.get_input_embeddings() for name, encoder in zip(self.names, self.encoders, strict=True)}

    def ids(self, strings: Sequence[str]) -> list[Tensor]:
        return [
            tokenizer(
                list(strings),
                padding="max_length",
                max_length=min(tokenizer.model_max_length, encoder.config.max_position_embeddings),
                truncation=True,
                return_tensors="pt",
            ).input_ids.to(self.device)
            for tokenizer, encoder in zip(self.tokenizers, self.encoders, strict=True)
        ]

    def states(self, ids: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        said = [encoder(part, output_hidden_states=True) for encoder, part in zip(self.encoders, ids, strict=True)]
        if len(said) == 1:
            return said[0].last_hidden_state, None
        return torch.cat([one.hidden_states[-2] for one in said], dim=-1), said[1].text_embeds


class Spliced:
    """Prompts with a token each, as the level modules read them; differentiable in the tokens.

    Args:
        tower: what reads them. prompts: S sentences with one TOKEN each. start: the word, one word piece, whose rows
            the tokens start from.
        affine: (mean, deviation) of `prompts.Encoder`: tokens = (states - mean) / deviation.
    Attributes:
        first: (S, D) the rows of `start`; those of two encoders side by side.
    Raises: NoPlace.
    """

    def __init__(
        self, tower: OpenClip | PipelineText, prompts: Sequence[str], start: str, affine: tuple[Tensor, float]
    ):
        self.tower, self.prompts = tower, list(prompts)
        mean, deviation = affine
        self.affine = mean.to(tower.device), deviation
        self.ids = tower.ids([prompt.replace(TOKEN, start) for prompt in prompts])
        other = next(word for word in OTHER_WORDS if word != start)
        differing = [
            own != others
            for own, others in zip(
                self.ids, tower.ids([prompt.replace(TOKEN, other) for prompt in prompts]), strict=True
            )
        ]
        for place in differing:
            wrong = (place.sum(1) != 1).nonzero().flatten().tolist()
            if wrong:
                raise NoPlace(
                    f"In {prompts[wrong[0]]!r} the word {start!r} does not stand at one place of what the text encoder "
                    "reads: it is several word pieces, or the sentence is cut before it. Choose a plain short word, "
                    "such as 'a', as `start` of the method in guidance.recipes."
                )
        self.places = differing
        self.widths = [table.embedding_dim for table in tower.tables.values()]
        with torch.no_grad():
            found = zip(tower.tables.values(), self.ids, self.places, strict=True)
            self.first = torch.cat([table(ids)[place] for table, ids, place in found], dim=1)

    def __call__(self, rows: Tensor, who: Tensor) -> tuple[Tensor, Tensor | None]:
        """(b, n, d) tokens and (b, p) sentence vectors of the prompts `who` (b,) with token rows (b, D)."""
        parts, ids = rows.split(self.widths, dim=1), [part[who] for part in self.ids]
        with ExitStack() as splices:
            for table, place, part in zip(self.tower.tables.values(), self.places, parts, strict=True):
                splices.enter_context(spliced(table, place[who], part))
            states, pooled = self.tower.states(ids)
        mean, deviation = self.affine
        return (states - mean.to(states.dtype)) / deviation, pooled

    def layout(self, row: Tensor, name: str) -> dict[str, Tensor]:
        """A token row (D,) as `load_textual_inversion` of diffusers reads it: under its name; of SDXL, by encoder."""
        if len(self.widths) == 1:
            return {name: row}
        parts = zip(self.tower.tables, row.split(self.widths), strict=True)
        return {NAMES[encoder]: part[None].contiguous() for encoder, part in parts}


def opened(tower: Semantics | Pipeline, device: str | torch.device) -> OpenClip | PipelineText:
    """The text encoder behind `prompts.Encoder.tower`, kept open and open to gradients."""
    return PipelineText(tower, device) if isinstance(tower, Pipeline) else OpenClip(tower, device)
