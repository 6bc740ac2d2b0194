"""Contours of pictures: what the contour adapter is trained on and is later given to draw from."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def edges(pixels: np.ndarray, cfg: Mapping[str, float]) -> np.ndarray:
    """Canny's contours, 255 on an edge and 0 elsewhere.

    Args:
        pixels: (B, H, W, 3) uint8 RGB.
        cfg: low, high: thresholds on the gradient |dx| + |dy| of 3 x 3 Sobel filters in the colour channel
            where it is greatest; a line starts above `high` and is followed while above `low`. blur: standard
            deviation in px of the Gaussian before it, 0 for none.
    Returns:
        (B, H, W) uint8. Each picture alone decides its contour, and nothing is random. Not exactly mirror
        symmetric: of two equal neighbours Canny keeps the left one.
    Source: Canny 1986 in OpenCV, on all three channels as ControlNet's own annotator does it; at 32 px a red
        wing on a green leaf has a contour in colour and none in grey. No enlargement before it: contours found at
        128 px and pooled to 32 px close up to blots.
    """
    import cv2

    found = np.zeros(pixels.shape[:3], dtype=np.uint8)
    for number, picture in enumerate(pixels):
        smooth = np.ascontiguousarray(picture)
        if cfg["blur"]:
            smooth = cv2.GaussianBlur(smooth, (0, 0), cfg["blur"])
        found[number] = cv2.Canny(smooth, cfg["low"], cfg["high"])
    return found


class EdgeMaps:
    """Contours of the training images, each found once and kept as bits: (H * W) / 8 bytes an image.

    Args:
        pixels: (N, H, W, 3) uint8 RGB, may be memory-mapped. cfg: as of `edges`.
    """

    def __init__(self, pixels: np.ndarray, cfg: Mapping[str, float]):
        self.pixels, self.cfg = pixels, cfg
        self.kept: dict[int, np.ndarray] = {}

    def __call__(self, chosen: Tensor, mirrored: Tensor) -> Tensor:
        """(B, H, W) uint8, 0 or 255, of images (B,), mirrored left to right where (B,) says so.

        A mirrored image's contour is its contour mirrored, so that flipping commutes with it exactly.
        """
        wanted = zip(chosen.tolist(), mirrored.tolist(), strict=True)
        return torch.from_numpy(np.stack([self._one(number)[:, :: -1 if flip else 1] for number, flip in wanted]))

    def _one(self, number: int) -> np.ndarray:
        if number not in self.kept:
            self.kept[number] = np.packbits(edges(self.pixels[number][None], self.cfg)[0] > 0)
        height, width = self.pixels.shape[1:3]
        return np.unpackbits(self.kept[number], count=height * width).reshape(height, width) * np.uint8(255)
