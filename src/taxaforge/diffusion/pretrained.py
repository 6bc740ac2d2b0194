"""Pipelines of the Stable Diffusion family as they lie on disk or on the Hugging Face hub: SD 1.x, 2.x and SDXL.

What a pipeline is, its own files say (model_index.json and the configs of its components); nothing here knows
a model by name. Weights are read from safetensors alone: a pickle can run code, and is never opened.
Without a network the standard variable HF_HUB_OFFLINE=1 spares the attempt; what is cached is then used.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from torch import Tensor, nn

from taxaforge.diffusion import schedule
from taxaforge.diffusion.codec import AutoencoderCodec
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_json, sha256_of

INDEX = "model_index.json"
SCHEDULER = "scheduler/scheduler_config.json"
CLASSES = {
    "unet": "UNet2DConditionModel",
    "vae": "AutoencoderKL",
    "text_encoder": "CLIPTextModel",
    "text_encoder_2": "CLIPTextModelWithProjection",
}
"""The components that are read, and what each has to be; the last one is there in SDXL alone."""
STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
"""File names of weights without ending, where it is not "model"."""
PREDICTIONS = ("epsilon", "v_prediction")
BATCH = 64
WANTED = [
    SCHEDULER,
    *(f"tokenizer*/*.{ending}" for ending in ("json", "txt")),
    *(f"{part}/config.json" for part in CLASSES),
    *(
        f"{part}/{STEMS.get(part, 'model')}{end}"
        for part in CLASSES
        for end in (".safetensors", ".safetensors.index.json")
    ),
    *(f"{part}/{STEMS.get(part, 'model')}-*-of-*.safetensors" for part in CLASSES),
]
"""What is downloaded of a hub repository: no half-precision variants, no other formats, no safety checker."""


class BadGenerator(TaxaforgeError):
    """A generator, or the pipeline that it starts from, is incomplete or does not fit the run."""


@dataclass(frozen=True)
class Pipeline:
    """A pipeline whose files are on this machine.

    name: as the user gave it. revision: as asked for. folder: where it lies. texts: its text encoders, one or two.
    """

    name: str
    revision: str
    folder: Path
    texts: tuple[str, ...]

    def unet(self) -> UNet2DConditionModel:
        """The denoiser, float32, without gradients."""
        return self._model(UNet2DConditionModel, "unet")

    def noise(self, prediction: str | None = None) -> DDIMScheduler:
        """The pipeline's betas under DDIM.

        Args:
            prediction: what the network is taken to say, "epsilon" or "v_prediction"; None: what it was trained to.
        """
        noise = schedule.of_checkpoint(read_json(self.present(SCHEDULER)))
        if prediction:
            noise.register_to_config(prediction_type=prediction)
        return noise

    def images(self, size: int) -> AutoencoderCodec:
        """The VAE, for pictures of `size` px a side."""
        images = AutoencoderCodec(self._model(AutoencoderKL, "vae"), size)
        if size % images.shrink:
            raise BadGenerator(
                f"Pictures of {size} px do not fit the VAE of {self.name}, which works on blocks of {images.shrink} px. "
                f"Choose a collection.size that divides by {images.shrink}."
            )
        return images

    @torch.no_grad()
    def text(self, strings: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """What the pipeline's denoiser is told by sentences, as the stock pipeline's `encode_prompt` gives it.

        Returns:
            tokens (S, n, d) float32: the last states of the one encoder; of two, their last but one side by
            side. pooled (S, p): the second encoder's sentence vector; None where there is one encoder.
        """
        from transformers import CLIPTextModel, CLIPTextModelWithProjection

        if len(self.texts) == 1:
            return torch.cat([said.last_hidden_state for said in self._read(CLIPTextModel, "", strings)]), None
        first = [said.hidden_states[-2] for said in self._read(CLIPTextModel, "", strings)]
        both = [
            (said.hidden_states[-2], said.text_embeds)
            for said in self._read(CLIPTextModelWithProjection, "_2", strings)
        ]
        second, sentences = zip(*both, strict=True)
        tokens, pooled = torch.cat([torch.cat(first), torch.cat(second)], dim=-1), torch.cat(sentences)
        if pooled.shape[1] > tokens.shape[2]:
            raise BadGenerator(
                f"The sentence vectors of {self.name} are wider ({pooled.shape[1]}) than its tokens "
                f"({tokens.shape[2]}), which no SDXL is. Choose another diffusion.pretrained."
            )
        return tokens, pooled

    def facts(self) -> dict:
        """Which weights these are: {"pretrained", "revision", "commit", "weights": {file: sha256}}.

        commit: of the hub's repository where the files lie in the hub's cache, else None. weights: of the
        denoiser, the VAE and the text encoders.
        """
        cached = self.folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", self.folder.name)
        files = [file for part in ("unet", "vae", *self.texts) for file in self.weights(part)]
        return {
            "pretrained": self.name,
            "revision": self.revision,
            "commit": self.folder.name if cached else None,
            "weights": {file.relative_to(self.folder).as_posix(): sha256_of(file) for file in files},
        }

    def weights(self, part: str) -> list[Path]:
        """The safetensors files of a component."""
        stem = self.folder / part / STEMS.get(part, "model")
        whole, index = stem.with_name(f"{stem.name}.safetensors"), stem.with_name(f"{stem.name}.safetensors.index.json")
        if whole.is_file():
            return [whole]
        if index.is_file():
            files = [index.with_name(name) for name in sorted(set(read_json(index)["weight_map"].values()))]
            missing = [file.name for file in files if not file.is_file()]
            if missing:
                raise BadGenerator(
                    f"{self.name} lacks {part}/{missing[0]}, which {index.name} lists: the copy is incomplete. "
                    "Copy or download the pipeline again."
                )
            return files
        others = sorted(
            file.name for ending in ("bin", "ckpt", "pt", "pth") for file in stem.parent.glob(f"*.{ending}")
        )
        if others:
            raise BadGenerator(
                f"The {part} of {self.name} is only there as {others[0]}, a pickle, which can run code and is never "
                f"opened here; {whole.name} is wanted. If you trust its source, convert it once in Python: "
                "`DiffusionPipeline.from_pretrained(<old>).save_pretrained(<new>)`, and set diffusion.pretrained to the "
                "new folder."
            )
        raise BadGenerator(
            f"{self.name} lacks {part}/{whole.name}: the copy is incomplete, or holds half-precision variants only. "
            "Copy or download the pipeline again, in full precision and as safetensors."
        )

    def present(self, path: str) -> Path:
        """The file at `path` inside the pipeline. Raises BadGenerator where it is missing."""
        if not (self.folder / path).is_file():
            raise BadGenerator(
                f"{self.name} lacks {path}: the copy is incomplete, or it is no Stable Diffusion pipeline. "
                "Copy or download it again, or choose another diffusion.pretrained."
            )
        return self.folder / path

    def _model(self, kind: type[nn.Module], part: str) -> nn.Module:
        self.present(f"{part}/config.json")
        self.weights(part)
        try:
            where = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
            model, info = kind.from_pretrained(self.folder / part, **where)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise BadGenerator(
                f"The {part} of {self.name} cannot be read: {_first_line(error)}. The copy is damaged, or its config is "
                "another one's: copy or download the pipeline again."
            ) from error
        if info["missing_keys"]:  # these would stay random, and only a warning would say so
            raise BadGenerator(
                f"The weights in {part} of {self.name} lack {len(info['missing_keys'])} parameters, "
                f"{sorted(info['missing_keys'])[0]} among them. Copy or download the pipeline again."
            )
        return model.float().eval().requires_grad_(False)

    def _read(self, kind: type[nn.Module], suffix: str, strings: Sequence[str]) -> Iterator:
        """What one text encoder says, batch by batch; each sentence is padded to the encoder's length."""
        from transformers import CLIPTokenizer

        folder = self.folder / f"tokenizer{suffix}"
        if not (folder / "tokenizer.json").is_file():  # without them transformers would make an empty tokeniser
            for name in ("vocab.json", "merges.txt"):
                self.present(f"{folder.name}/{name}")
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        encoder = self._model(kind, f"text_encoder{suffix}")
        length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
        padded = {"padding": "max_length", "max_length": length, "truncation": True, "return_tensors": "pt"}
        for first in range(0, len(strings), BATCH):
            ids = tokenizer(list(strings[first : first + BATCH]), **padded).input_ids
            yield encoder(ids, output_hidden_states=True)


def opened(pretrained: str, revision: str = "main") -> Pipeline:
    """The pipeline in a local folder or of a hub id, at a branch, tag or commit; downloaded where it is not cached.

    Raises: BadGenerator: it is not there, or not a pipeline that this project can work on.
    """
    folder = _located(pretrained, revision)
    if not (folder / INDEX).is_file():
        raise BadGenerator(
            f"{pretrained} has no {INDEX}: it is no diffusers pipeline. A single checkpoint file becomes one with "
            "`StableDiffusionPipeline.from_single_file(<file>).save_pretrained(<folder>)`."
        )
    index = read_json(folder / INDEX)
    _refuse_other_kinds(pretrained, index)
    if not Path(pretrained).expanduser().is_dir():
        folder = _downloaded(pretrained, revision, WANTED)
    texts = tuple(part for part in ("text_encoder", "text_encoder_2") if _class(index, part))
    pipeline = Pipeline(pretrained, revision, folder, texts)
    _refuse_other_denoisers(pipeline)
    return pipeline


def _located(pretrained: str, revision: str) -> Path:
    """Where at least the index of the pipeline lies."""
    path = Path(pretrained).expanduser()
    if pretrained and path.is_dir():
        return path.resolve()
    if path.is_file():
        return path
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", pretrained) or pretrained.startswith("."):
        raise BadGenerator(
            f"There is no folder {pretrained!r}, and it is no hub id (`owner/name`) either. Correct diffusion.pretrained."
        )
    return _downloaded(pretrained, revision, [INDEX])


def _downloaded(pretrained: str, revision: str, files: list[str]) -> Path:
    try:
        return Path(snapshot_download(pretrained, revision=revision, allow_patterns=files))
    except (OSError, ValueError) as error:
        raise BadGenerator(
            f"The pipeline {pretrained!r} at revision {revision!r} is no folder here, and the hub does not give it: "
            f"{_first_line(error)}. Check diffusion.pretrained and diffusion.revision; on a machine without network, "
            "copy the pipeline into a folder or into the cache that HF_HOME names."
        ) from error


def _class(index: dict, part: str) -> str | None:
    """The class that a pipeline's index names for a component; None where it has none."""
    return (index.get(part) or [None, None])[1]


def _refuse_other_kinds(pretrained: str, index: dict) -> None:
    for part, wanted in CLASSES.items():
        found = _class(index, part)
        if found == wanted or (part == "text_encoder_2" and found is None):
            continue
        flow = ", which are flow-matching models: this project's equations are about noise prediction"
        raise BadGenerator(
            f"{pretrained} is a {index.get('_class_name', 'pipeline')} with {found or 'nothing'} as {part}, not "
            f"{wanted}. Only SD 1.x, SD 2.x and SDXL work, no SD3 or Flux{flow if index.get('transformer') else ''}. "
            "Choose another diffusion.pretrained."
        )


def _refuse_other_denoisers(pipeline: Pipeline) -> None:
    """Variants of the family that want more than noised latents, text and time."""
    unet, noise = (read_json(pipeline.present(path)) for path in ("unet/config.json", SCHEDULER))
    added = "text_time" if len(pipeline.texts) == 2 else None
    reason = None
    if unet.get("in_channels", 4) != unet.get("out_channels", 4):
        reason = "its denoiser reads more than the noised latent, as for inpainting or upscaling"
    elif any(unet.get(name) is not None for name in ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type")):
        reason = "its denoiser wants class or image embeddings"
    elif unet.get("addition_embed_type") != added:
        reason = f"its denoiser wants {unet.get('addition_embed_type')} beside the tokens, not {added}"
    elif "beta_start" not in noise and noise.get("trained_betas") is None:
        reason = f"its schedule ({noise.get('_class_name')}) has no betas"
    elif noise.get("prediction_type", "epsilon") not in PREDICTIONS:
        reason = f"its network predicts {noise['prediction_type']!r}, not noise or v"
    if reason:
        raise BadGenerator(f"{pipeline.name} does not work here: {reason}. Choose another diffusion.pretrained.")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
