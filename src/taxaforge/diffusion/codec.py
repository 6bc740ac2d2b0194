"""Between pictures and the space that the denoiser works in."""

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle


def to_unit(pixels: np.ndarray, device: str | torch.device = "cpu") -> Tensor:
    """uint8 (N, H, W, 3) RGB -> float32 (N, 3, H, W) in -1..1."""
    return torch.tensor(np.asarray(pixels)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(images: Tensor) -> np.ndarray:
    """float (N, 3, H, W), -1..1, clipped -> uint8 (N, H, W, 3), rounded."""
    scaled = ((images.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()


GAIN = 2.0
"""Latents of pixels are this times -1..1. Pictures spread about half as far as unit noise, and a schedule made
for unit variance would spend most of its steps where they have long drowned (a VAE's `scaling_factor` does the same)."""


class PixelCodec(nn.Module):
    """Pixels times GAIN; `patch` x `patch` neighbours are stacked as channels.

    But for the factor a permutation of the numbers, and the denoiser runs on patch**2 times fewer positions.
    """

    def __init__(self, size: int, patch: int):
        super().__init__()
        self.size, self.patch = size, patch
        self.latent_shape = (3 * patch**2, size // patch, size // patch)

    def encode(self, images: Tensor) -> Tensor:
        return pixel_unshuffle(GAIN * images, self.patch).contiguous(memory_format=torch.channels_last)

    def decode(self, z: Tensor) -> Tensor:
        """(B, 3, H, W), not clipped; differentiable."""
        return pixel_shuffle(z, self.patch) / GAIN


class AutoencoderCodec(nn.Module):
    """A pipeline's frozen VAE, at the mode of its posterior, so that encoding draws no random number.

    z = (mode - mean) * gain. Most VAEs have mean 0 and gain `scaling_factor`; a config may also name a
    `shift_factor`, or mean and standard deviation of each channel, `latents_mean` and `latents_std`.
    Attributes: shrink, px of the picture to one position of the latent.
    """

    def __init__(self, vae: AutoencoderKL, size: int):
        super().__init__()
        self.vae = vae.eval().requires_grad_(False)
        config = vae.config
        self.size, self.shrink = size, 2 ** (len(config.block_out_channels) - 1)
        self.latent_shape = (config.latent_channels, size // self.shrink, size // self.shrink)
        mean = config.latents_mean or [config.shift_factor or 0.0]
        gain = [config.scaling_factor / deviation for deviation in config.latents_std or [1.0]]
        for name, values in (("mean", mean), ("gain", gain)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def encode(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):  # in half precision some VAEs overflow
            return (self.vae.encode(images.to(self.vae.dtype)).latent_dist.mode() - self.mean) * self.gain

    def decode(self, z: Tensor) -> Tensor:
        """(B, 3, H, W), not clipped; differentiable."""
        with torch.autocast(z.device.type, enabled=False):
            return self.vae.decode((z / self.gain + self.mean).to(self.vae.dtype)).sample
