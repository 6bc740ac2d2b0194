"""One face for every generator: a method that samples or trains never asks which backbone it runs on."""

from pathlib import Path

import numpy as np
import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import pad

from taxaforge.diffusion import codec, lora, pretrained, schedule
from taxaforge.diffusion.conditioning import Conditioning
from taxaforge.diffusion.lineages import Lineages
from taxaforge.diffusion.pretrained import BadGenerator
from taxaforge.files import read_json

MANIFEST = "manifest.json"
DECODED = 2**16
"""Pixels that are decoded together: 64 pictures of 32 px, four of 128 px, one of 256 px and more."""
HEADS = 4
"""Attention heads of a fresh small denoiser."""
PATCH = 2
"""Side of the pixel blocks that a fresh small denoiser sees as one position; 1 costs about four times the time."""


class Backbone(nn.Module):
    """Denoiser, level modules, frozen texts, schedule and codec.

    Args:
        unet: UNet2DConditionModel. conditioning: the level modules, trained up to the last of them.
        lineages: frozen texts of at least these levels. schedule: training betas and prediction type.
        codec: PixelCodec or AutoencoderCodec.
    Attributes:
        levels: names of the trained levels, coarse to fine. latent_shape: (c, h, w).
        pooled: p, the width of the sentence vectors that SDXL reads beside its tokens; 0 for the others.
        prediction_type: "epsilon", what a call returns and what `scheduler` steps on. native: what the
            network itself says ("v_prediction" or "epsilon").
    Nothing here disables gradients, and nothing draws a random number unless modules are in train mode.
    """

    prediction_type = "epsilon"

    def __init__(
        self,
        unet: UNet2DConditionModel,
        conditioning: Conditioning,
        lineages: Lineages,
        noise: DDIMScheduler,
        images: codec.PixelCodec | codec.AutoencoderCodec,
    ):
        super().__init__()
        self.unet, self.conditioning, self.images, self.schedule = unet, conditioning, images, noise
        self.levels = conditioning.levels
        self.latent_shape = images.latent_shape
        self.native = noise.config.prediction_type
        for name in ("tokens", "index", "unknown", "null"):
            self.register_buffer(f"text_{name}", getattr(lineages, name), persistent=False)
        self.register_buffer("text_pooled", lineages.pooled, persistent=False)
        self.pooled = lineages.pooled_width

    @property
    def device(self) -> torch.device:
        return self.text_tokens.device

    def scheduler(self, steps: int) -> DDIMScheduler:
        """The training betas with `steps` timesteps set; `step(eps, t, z)` takes what a call returns."""
        return schedule.for_sampling(self.schedule, steps)

    def native_scheduler(self, steps: int, kind: str = "ddim") -> schedule.Sampler:
        """The same for stepping on what `predict` returns, with any of `schedule.SAMPLERS`.

        By way of the noise, the first step of cosine betas divides by sqrt(abar) = 5e-5, so that one
        rounding in the last bit, as another batch size brings, moves a pixel by 1e-4. By v it stays at 1e-6.
        """
        return schedule.for_sampling(self.schedule, steps, self.native, kind)

    def rows(self, label: Tensor, dropped: Tensor | None = None) -> Tensor:
        """(B, L) text rows of classes (B,); class -1 is the null lineage, as is each level `dropped` (B, L)."""
        nothing = label[:, None] < 0
        if dropped is not None:
            nothing = nothing | dropped
        return torch.where(nothing, self.text_null, self.text_index[label.clamp(min=0)])

    def tokens(self, label: Tensor, upto: Tensor, mine: Tensor | None = None, dropped: Tensor | None = None) -> Tensor:
        """c^(upto) of classes (B,), -1 for null, each up to its own level (B,).

        Args:
            mine: (b,) long, the places asked for; None: all. Dropout is that of the whole batch.
            dropped: (B, L) bool, levels whose name gives way to the null name.
        Returns:
            (b, n, d). Of SDXL (b, n + 1, d): the last row is the sentence vector (p <= d, filled up with
            zeros) of the string on level `upto` [ext], so that a condition stays one tensor that can be
            stacked, weighed and mixed.
        """
        rows = self.rows(label, dropped)
        summed = self.conditioning(self.text_tokens, rows, upto, mine)
        if not self.pooled:
            return summed
        finest = rows.gather(1, upto[:, None])[:, 0]
        return self._with_sentence(summed, self.text_pooled[finest if mine is None else finest[mine]])

    def condition(self, label: Tensor, upto: int) -> Tensor:
        """c^(upto) (B, n, d) of classes (B,) long; upto 0 is the coarsest level alone."""
        if not 0 <= upto < len(self.levels):
            raise BadGenerator(f"Level {upto} is not trained; the generator has {', '.join(self.levels)}.")
        label = label.to(self.device)
        return self.tokens(label, torch.full_like(label, upto))

    def prompted(self, label: Tensor, tokens: Tensor, pooled: Tensor | None = None) -> Tensor:
        """(B, n, d): the whole lineage of classes (B,), its finest level reading `tokens` (B, n, d) for its name.

        Args:
            tokens: frozen text like the run's own, e.g. "species: Parus major, on a branch". pooled: (B, p), of SDXL.
        Differentiable in tokens and pooled.
        """
        own = len(self.text_tokens) + torch.arange(len(label), device=self.device)
        rows = torch.cat([self.rows(label.to(self.device))[:, : len(self.levels) - 1], own[:, None]], dim=1)
        upto = torch.full_like(own, len(self.levels) - 1)
        summed = self.conditioning(torch.cat([self.text_tokens, tokens.to(self.device)]), rows, upto)
        return summed if not self.pooled else self._with_sentence(summed, pooled.to(self.device))

    def _with_sentence(self, summed: Tensor, sentence: Tensor) -> Tensor:
        filled = pad(sentence.to(summed.dtype), (0, summed.shape[-1] - self.pooled))
        return torch.cat([summed, filled[:, None]], dim=1)

    def null(self, batch: int) -> Tensor:
        """(B, n, d): the sum of all levels' modules on "<level>: None", as trained with null_probability."""
        return self.condition(torch.full((batch,), -1, device=self.device), len(self.levels) - 1)

    def split(self, tokens: Tensor) -> tuple[Tensor, dict[str, Tensor] | None]:
        """A condition (B, n', d) of `tokens` as a diffusers UNet or ControlNet takes it.

        Returns:
            encoder_hidden_states (B, n, d); added_cond_kwargs, None but for SDXL: the sentence vectors, and a
            picture's size, the corner it was cropped at and the size wanted, here always the whole picture at
            the generator's size.
        """
        if not self.pooled:
            return tokens, None
        size = self.images.size
        places = torch.tensor([[size, size, 0, 0, size, size]], dtype=tokens.dtype, device=tokens.device)
        added = {"text_embeds": tokens[:, -1, : self.pooled], "time_ids": places.expand(len(tokens), -1)}
        return tokens[:, :-1], added

    def predict(self, z: Tensor, t: Tensor, tokens: Tensor, **residuals) -> Tensor:
        """The network's own output (B, c, h, w), in its native prediction type.

        Args:
            t: (B,) long. residuals: of a ControlNet, `down_block_additional_residuals` and
                `mid_block_additional_residual`.
        """
        text, added = self.split(tokens)
        return self.unet(z, t, text, added_cond_kwargs=added, **residuals, return_dict=False)[0]

    def forward(self, z: Tensor, t: int | Tensor, tokens: Tensor, **residuals) -> Tensor:
        """Noise prediction eps (B, c, h, w) for z (B, c, h, w) at timestep t (one, or (B,)), tokens (B, n, d)."""
        t = torch.as_tensor(t, device=z.device).expand(len(z))
        abar = schedule.signal_share(self.schedule, t, z)
        return schedule.to_eps(self.native, self.predict(z, t, tokens, **residuals), z, abar)

    def to_image(self, z: Tensor) -> np.ndarray:
        """uint8 (B, H, W, 3) RGB of latents (B, c, h, w); a few at once, as a VAE takes gigabytes for many large ones."""
        few = max(1, DECODED // self.images.size**2)
        with torch.no_grad():
            return np.concatenate([codec.to_pixels(self.images.decode(part)) for part in z.split(few)])

    def to_latent(self, pixels: np.ndarray) -> Tensor:
        """Latents (B, c, h, w) of uint8 (B, H, W, 3) RGB pictures of the generator's size."""
        with torch.no_grad():
            return self.images.encode(codec.to_unit(pixels, self.device))


def small_unet(channels: list[int], size: int, patch: int, width: int) -> UNet2DConditionModel:
    """The pixel-space denoiser: convolutions, with attention to the tokens where the picture is coarsest.

    The tokens also reach every residual block, pooled and added to the time embedding; through attention
    alone a short training hardly learns to listen to them. Every residual branch and the output start at
    zero.

    Args:
        channels: fine to coarse, each divisible by 8. size: picture side in px, divisible by
            patch * 2**(len(channels) - 1). width: d of the tokens.
    """
    coarser = len(channels) - 1
    deepest = patch * 2**coarser
    if size % deepest or any(value % 8 for value in channels):
        raise BadGenerator(
            f"channels {channels} at {size} px: every channel must divide by 8 and the size by {deepest}. "
            "Change diffusion.channels or collection.size."
        )
    unet = UNet2DConditionModel(
        sample_size=size // patch,
        in_channels=3 * patch**2,
        out_channels=3 * patch**2,
        down_block_types=[*["DownBlock2D"] * coarser, "CrossAttnDownBlock2D"],
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=["CrossAttnUpBlock2D", *["UpBlock2D"] * coarser],
        block_out_channels=channels,
        layers_per_block=1,
        cross_attention_dim=width,
        attention_head_dim=HEADS,  # the number of heads, despite its name
        addition_embed_type="text",
        addition_embed_type_num_heads=HEADS,
        resnet_time_scale_shift="scale_shift",
        norm_num_groups=8,
    )
    last = [unet.conv_out]
    last += [block.conv2 for block in unet.modules() if isinstance(block, ResnetBlock2D)]
    last += [block.proj_out for block in unet.modules() if isinstance(block, Transformer2DModel)]
    for layer in last:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return unet


def parts(manifest: dict, folder: Path | None) -> tuple:
    """Denoiser, schedule and codec of a manifest.

    Args:
        folder: of the stage that has them; None: fresh, or as the pipeline has them. A stage that trained no
            denoiser of its own (`own_unet`) leaves the pipeline's.
    Raises: BadGenerator.
    """
    small, prediction = manifest["backbone"] == "small", manifest["prediction"]
    pipeline = None if small else pretrained.opened(manifest["pretrained"], manifest["revision"])
    if folder and manifest["own_unet"]:
        unet = _saved_unet(folder / "unet")
    elif small:
        unet = small_unet(manifest["channels"], manifest["size"], manifest["patch"], manifest["width"])
    else:
        unet = pipeline.unet()
    if folder and (folder / "scheduler").is_dir():
        noise = DDIMScheduler.from_pretrained(folder / "scheduler")
    else:
        noise = schedule.small(prediction) if small else pipeline.noise(prediction)
    if not small:
        return unet, noise, pipeline.images(manifest["size"])
    return unet.to(memory_format=torch.channels_last), noise, codec.PixelCodec(manifest["size"], manifest["patch"])


def _saved_unet(folder: Path) -> UNet2DConditionModel:
    try:
        return UNet2DConditionModel.from_pretrained(folder, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise BadGenerator(f"{folder} cannot be read ({error}). Delete the stage and run it again.") from error


def load(dir: str | Path, *, texts: str | Path, device: str = "cpu") -> Backbone:
    """The generator that a stage wrote, in eval mode, without gradients on its weights.

    Args:
        dir: results/diffusion/<stage>. texts: texts.safetensors of the same run.
    Raises: BadGenerator, LoraMismatch: a part is missing or belongs to another run.
    """
    folder = Path(dir)
    for name in (MANIFEST, "levels.safetensors"):
        if not Path(folder, name).is_file():
            raise BadGenerator(
                f"{folder / name} is missing: the stage did not finish. Delete the folder and run again."
            )
    manifest = read_json(folder / MANIFEST)
    lineages = Lineages.load(texts)
    made_with = (manifest["levels"], manifest["width"], manifest["pooled"])
    if (lineages.levels, lineages.width, lineages.pooled_width) != made_with:
        raise BadGenerator(f"{folder} and {texts} come from different runs: their levels or token widths differ.")
    unet, noise, images = parts(manifest, folder)
    if manifest["lora_rank"]:
        lora.fold(unet, folder / "lora")
    levels = manifest["levels"][: manifest["trained"]]
    conditioning = Conditioning(levels, manifest["width"], manifest["zero_gate"])
    conditioning.load_state_dict(load_file(folder / "levels.safetensors"))
    backbone = Backbone(unet, conditioning, lineages, noise, images)
    return backbone.eval().requires_grad_(False).to(device)
