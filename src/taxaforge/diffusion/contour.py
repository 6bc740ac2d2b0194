"""The contour adapter: a ControlNet beside the frozen denoiser, which makes it draw along a given contour.

Source: Zhang et al. 2023 (arXiv:2302.05543), diffusers' `ControlNetModel`. Differs from it on the small
backbone, whose latents are pixels: the contour is stacked as the pixels are, and meets them at stride 1.
"""

import hashlib
from pathlib import Path

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from taxaforge.diffusion.backbone import Backbone
from taxaforge.diffusion.codec import PixelCodec
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_json, write_json
from taxaforge.seeds import seed_of

MANIFEST = "manifest.json"
KIND = "contour"
WEIGHTS = "diffusion_pytorch_model.safetensors"
CHANNELS = (16, 32, 96, 256)
"""Channels of the network that reads the contour, at full size and after each halving; the published ones."""
MEETING = ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim", "addition_embed_type")
"""What the configs of an adapter and of a denoiser must agree in to work together; ready-made ones may be slimmer
than a copy of the encoder."""


class BadContour(TaxaforgeError):
    """A contour adapter is missing, incomplete, or of another generator."""


def make(backbone: Backbone, seed: int) -> ControlNetModel:
    """A fresh adapter: a copy of the denoiser's encoder, with outputs that start at zero and so change nothing.

    Raises: BadContour where a ControlNet has no counterpart for something in the denoiser.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "contour"))
        try:
            net = _copy(backbone)
        except (ValueError, TypeError, RuntimeError) as error:
            raise BadContour(
                f"No contour adapter can be made of this denoiser: {error}. Use a Stable Diffusion 1.x, 2.x or XL "
                "pipeline, or the small backbone."
            ) from error
    return net.to(memory_format=torch.channels_last) if _stacks_pixels(backbone) else net


def _copy(backbone: Backbone) -> ControlNetModel:
    unet, reading = backbone.unet, _reading(backbone)
    _every_part_has_a_counterpart(unet)
    halvings = reading["stride"].bit_length()
    widths = (*CHANNELS, *[CHANNELS[-1]] * halvings)[:halvings]
    net = ControlNetModel.from_unet(
        unet, conditioning_channels=reading["conditioning_channels"], conditioning_embedding_out_channels=widths
    )
    # from_unet does not hand on the number of heads that pool the text, and weights of any number have one shape:
    # left at its default of 64 the copy would read names otherwise than the original, or not at all.
    settings = {name: value for name, value in net.config.items() if not name.startswith("_")}
    settings["addition_embed_type_num_heads"] = unet.config.addition_embed_type_num_heads
    complete = ControlNetModel(**settings)
    complete.load_state_dict(net.state_dict())
    return complete


def _reading(backbone: Backbone) -> dict[str, int]:
    """How an adapter reads contours: channels, and pixels of them a latent position along a side."""
    if _stacks_pixels(backbone):
        return {"conditioning_channels": _stride(backbone) ** 2, "stride": 1}
    return {"conditioning_channels": 3, "stride": _stride(backbone)}


def _every_part_has_a_counterpart(unet: UNet2DConditionModel) -> None:
    """Raises ValueError where the encoder has something that `ControlNetModel` would silently leave out."""
    expected = {
        "center_input_sample": False,
        "conv_in_kernel": 3,
        "dual_cross_attention": False,
        "encoder_hid_dim": None,
        "time_embedding_type": "positional",
        "time_cond_proj_dim": None,
        "timestep_post_act": None,
        "resnet_skip_time_act": False,
        "resnet_out_scale_factor": 1.0,
        "attention_type": "default",
        "class_embeddings_concat": False,
        "mid_block_only_cross_attention": None,
        "cross_attention_norm": None,
    }
    strange = [name for name, value in expected.items() if unet.config.get(name, value) != value]
    if strange:
        raise ValueError(f"a ControlNet has nothing for its {', '.join(strange)}")


def _stacks_pixels(backbone: Backbone) -> bool:
    return isinstance(backbone.images, PixelCodec)


def _stride(backbone: Backbone) -> int:
    """Pixels of the picture along a side of one latent position."""
    return backbone.images.patch if _stacks_pixels(backbone) else backbone.images.shrink


class Contour(nn.Module):
    """An adapter with the generator it belongs to.

    Args:
        net: the ControlNet. backbone: its generator; it is looked at and called for nothing but its shapes.
        about: what the adapter's manifest says, empty for a ready-made one.
    Attributes: edges: settings of `edges.edges` that it was trained with, None for a ready-made one.
    """

    def __init__(self, net: ControlNetModel, backbone: Backbone, about: dict | None = None):
        super().__init__()
        self.net, self.about = net, about or {}
        self.split, self.side = backbone.split, backbone.images.size
        self.stacks, self.stride = _stacks_pixels(backbone), _stride(backbone)

    @property
    def edges(self) -> dict | None:
        return self.about.get("edges")

    @classmethod
    def load(cls, source: str | Path, backbone: Backbone, revision: str = "main") -> "Contour":
        """An adapter that `save` wrote, or a ready-made ControlNet of the generator's family.

        Args:
            source: folder, or hub id at `revision`. Only safetensors are read; a pickle is never opened.
            backbone: as `backbone.load` returns it, in fp32.
        Returns: in eval mode, without gradients on its weights, on the backbone's device.
        Raises: BadContour where something is missing, or the adapter does not fit the generator.
        """
        folder = Path(source)
        about = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
        about = about if about.get("kind") == KIND else {}
        try:
            net, found = ControlNetModel.from_pretrained(
                str(source),
                revision=revision,
                use_safetensors=True,
                local_files_only=folder.is_dir(),
                output_loading_info=True,
                low_cpu_mem_usage=False,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise BadContour(
                f"No contour adapter could be read from {source}: {said}. It needs config.json and {WEIGHTS}. "
                "Correct diffusion.contour.pretrained, or delete the folder and train it again."
            ) from error
        strange = [*found["missing_keys"], *found["unexpected_keys"]]
        if strange:
            raise BadContour(
                f"{source} is not a ControlNet as diffusers knows it: {strange[0]} and {len(strange) - 1} more "
                "weights are missing or too many. Choose another for diffusion.contour.pretrained."
            )
        _check(net, backbone, about, source)
        if _stacks_pixels(backbone):
            net.to(memory_format=torch.channels_last)
        return cls(net.float(), backbone, about).eval().requires_grad_(False).to(backbone.device)

    def save(self, folder: str | Path) -> None:
        """Writes config.json and weights as `ControlNetModel.from_pretrained` reads them, and manifest.json."""
        self.net.save_pretrained(folder)
        write_json(Path(folder, MANIFEST), self.about)

    def condition(self, edge: Tensor) -> Tensor:
        """What the network reads, 0..1: (B, patch**2, h, w), stacked like pixels; of a pipeline (B, 3, H, W).

        Args:
            edge: (B, H, W) uint8 0..255; grey values, of a contour that was turned or shrunk, are kept.
        """
        if edge.shape[1:] != (self.side, self.side):
            raise BadContour(
                f"A contour of {tuple(edge.shape[1:])} px does not fit pictures of {self.side} px. Find contours at "
                "collection.size."
            )
        one = edge[:, None].to(self.net.device).to(self.net.dtype) / 255
        return pixel_unshuffle(one, self.stride) if self.stacks else one.expand(-1, 3, -1, -1)

    def residuals(self, z: Tensor, t: Tensor, tokens: Tensor, edge: Tensor, scale: Tensor | float) -> dict:
        """What `backbone.predict(z, t, tokens, **residuals)` adds inside the denoiser.

        Args:
            z: (B, c, h, w), t (B,) and tokens (B, n, d), as predict gets them. edge: (B, H, W) uint8.
            scale: (B,) or one number, strength of each image's contour, 0 none, 1 as trained. It multiplies
                what the network returns at scale 1, which is exact; the stock pipeline knows one number a call.
        Returns: {"down_block_additional_residuals": tuple of (B, ., ., .), "mid_block_additional_residual"}.
        """
        text, added = self.split(tokens)
        down, middle = self.net(z, t, text, self.condition(edge), added_cond_kwargs=added, return_dict=False)
        strength = torch.as_tensor(scale, dtype=z.dtype, device=z.device).expand(len(z)).view(-1, 1, 1, 1)
        return {
            "down_block_additional_residuals": tuple(part * strength for part in down),
            "mid_block_additional_residual": middle * strength,
        }


def description(backbone: Backbone, **more) -> dict:
    """The manifest of an adapter of this generator; `more` says what it was trained on."""
    return {"format": 1, "kind": KIND, "size": backbone.images.size, "denoiser": fingerprint(backbone), **more}


def fingerprint(backbone: Backbone) -> str:
    """Names a denoiser by its first and last layer: LoRA leaves them alone, another run or pipeline has others.

    So an adapter serves all stages that share a denoiser but for LoRA.
    """
    digest = hashlib.sha256()
    for layer in (backbone.unet.conv_in, backbone.unet.conv_out):
        digest.update(layer.weight.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _check(net: ControlNetModel, backbone: Backbone, about: dict, source: str | Path) -> None:
    """Raises BadContour, naming the first thing that does not fit."""
    ours = {name: backbone.unet.config[name] for name in MEETING} | _reading(backbone)
    theirs = {name: net.config[name] for name in MEETING}
    theirs["conditioning_channels"] = net.config.conditioning_channels
    theirs["stride"] = 2 ** (len(net.config.conditioning_embedding_out_channels) - 1)
    if about:
        ours |= {"size": backbone.images.size, "denoiser": fingerprint(backbone)}
        theirs |= {name: about.get(name) for name in ("size", "denoiser")}
    for name, value in ours.items():
        if _plain(theirs[name]) != _plain(value):
            raise BadContour(
                f"The contour adapter {source} is of another generator: its {name} is {theirs[name]}, the generator's "
                f"{value}. Train one on this generator, or choose another for diffusion.contour.pretrained."
            )


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
