"""One face for every generator: a method that samples or trains never asks which backbone it runs on."""

from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors.torch import load_file
from torch import Tensor, nn

from taxaforge.diffusion import codec, lora, schedule
from taxaforge.diffusion.conditioning import Conditioning
from taxaforge.diffusion.lineages import Lineages
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_json

MANIFEST = "manifest.json"
HEADS = 4
"""Attention heads of a fresh small denoiser."""
PATCH = 2
"""Side of the pixel blocks that a fresh small denoiser sees as one position; 1 costs about four times the time."""


class BadGenerator(TaxaforgeError):
    """A generator's folder is incomplete or does not fit the run."""


class Backbone(nn.Module):
    """Denoiser, level modules, frozen texts, schedule and codec.

    Args:
        unet: UNet2DConditionModel. conditioning: the level modules, trained up to the last of them.
        lineages: frozen texts of at least these levels. schedule: training betas and prediction type.
        codec: PixelCodec or AutoencoderCodec.
    Attributes:
        levels: names of the trained levels, coarse to fine. latent_shape: (c, h, w).
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

    @property
    def device(self) -> torch.device:
        return self.text_tokens.device

    def scheduler(self, steps: int) -> DDIMScheduler:
        """The training betas with `steps` timesteps set; `step(eps, t, z)` takes what a call returns."""
        return schedule.for_sampling(self.schedule, steps)

    def rows(self, label: Tensor) -> Tensor:
        """(B, L) text rows of classes (B,); class -1 is the null lineage."""
        found = self.text_index[label.clamp(min=0)]
        return torch.where(label[:, None] < 0, self.text_null, found)

    def tokens(self, label: Tensor, upto: Tensor) -> Tensor:
        """c^(upto) (B, n, d) of classes (B,), -1 for null, each up to its own level (B,)."""
        return self.conditioning(self.text_tokens, self.rows(label), upto)

    def condition(self, label: Tensor, upto: int) -> Tensor:
        """c^(upto) (B, n, d) of classes (B,) long; upto 0 is the coarsest level alone."""
        if not 0 <= upto < len(self.levels):
            raise BadGenerator(f"Level {upto} is not trained; the generator has {', '.join(self.levels)}.")
        label = label.to(self.device)
        return self.tokens(label, torch.full_like(label, upto))

    def null(self, batch: int) -> Tensor:
        """(B, n, d): the sum of all levels' modules on "<level>: None", as trained with null_probability."""
        return self.condition(torch.full((batch,), -1, device=self.device), len(self.levels) - 1)

    def predict(self, z: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        """The network's own output, in its native prediction type; t (B,) long."""
        return self.unet(z, t, tokens, return_dict=False)[0]

    def forward(self, z: Tensor, t: int | Tensor, tokens: Tensor) -> Tensor:
        """Noise prediction eps (B, c, h, w) for z (B, c, h, w) at timestep t (one, or (B,)), tokens (B, n, d)."""
        t = torch.as_tensor(t, device=z.device).expand(len(z))
        abar = schedule.signal_share(self.schedule, t, z)
        return schedule.to_eps(self.native, self.predict(z, t, tokens), z, abar)

    def to_image(self, z: Tensor) -> np.ndarray:
        """uint8 (B, H, W, 3) RGB of latents (B, c, h, w)."""
        with torch.no_grad():
            return codec.to_pixels(self.images.decode(z))

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


def pipeline_parts(
    pretrained: str, revision: str, size: int
) -> tuple[UNet2DConditionModel, DDIMScheduler, codec.AutoencoderCodec]:
    """Denoiser, schedule and VAE of a Stable Diffusion pipeline, from the hub or a local folder."""
    where = {"pretrained_model_name_or_path": pretrained, "revision": revision}
    unet = UNet2DConditionModel.from_pretrained(**where, subfolder="unet")
    config = DDIMScheduler.load_config(**where, subfolder="scheduler")
    vae = AutoencoderKL.from_pretrained(**where, subfolder="vae")
    return unet, schedule.of_checkpoint(config), codec.AutoencoderCodec(vae, size)


def parts(manifest: dict, folder: Path | None) -> tuple:
    """Denoiser, schedule and codec of a manifest; `folder` None makes a fresh small denoiser."""
    if manifest["backbone"] == "stable-diffusion":
        return pipeline_parts(manifest["pretrained"], manifest["revision"], manifest["size"])
    if folder is None:
        unet = small_unet(manifest["channels"], manifest["size"], manifest["patch"], manifest["width"])
        noise = DDIMScheduler(**schedule.SMALL)
    else:
        unet = UNet2DConditionModel.from_pretrained(folder / "unet")
        noise = DDIMScheduler.from_pretrained(folder / "scheduler")
    return unet.to(memory_format=torch.channels_last), noise, codec.PixelCodec(manifest["size"], manifest["patch"])


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
    if (lineages.levels, lineages.width) != (manifest["levels"], manifest["width"]):
        raise BadGenerator(f"{folder} and {texts} come from different runs: their levels or token widths differ.")
    unet, noise, images = parts(manifest, folder)
    if manifest["lora_rank"]:
        lora.fold(unet, folder / "lora")
    conditioning = Conditioning(manifest["levels"][: manifest["trained"]], manifest["width"])
    conditioning.load_state_dict(load_file(folder / "levels.safetensors"))
    backbone = Backbone(unet, conditioning, lineages, noise, images)
    return backbone.eval().requires_grad_(False).to(device)
