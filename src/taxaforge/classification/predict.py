"""What a trained classifier says about pictures: probabilities, and the features it decides by."""

import numpy as np
import torch

from taxaforge.classification.model import Classifier, load

__all__ = ["features", "load", "predict"]


@torch.inference_mode()
def predict(model: Classifier, pixels: np.ndarray, batch_size: int = 128) -> np.ndarray:
    """Class probabilities: (N, C) float64, rows sum to 1, columns in the order of `model.classes`.

    pixels: (N, H, W, 3) uint8 RGB, any size, memory-mapped or not.
    """
    model.net.eval()
    parts = [
        model.net(model.normalised(model.resized(pixels[i : i + batch_size]))).double().softmax(1).cpu().numpy()
        for i in range(0, len(pixels), batch_size)
    ]
    return np.concatenate(parts) if parts else np.empty((0, len(model.classes)))


@torch.inference_mode()
def features(model: Classifier, pixels: np.ndarray, batch_size: int = 128) -> np.ndarray:
    """The penultimate layer, after pooling: (N, d) float64. pixels as in `predict`."""
    model.net.eval()
    parts = []
    for i in range(0, len(pixels), batch_size):
        maps = model.net.forward_features(model.normalised(model.resized(pixels[i : i + batch_size])))
        parts.append(model.net.forward_head(maps, pre_logits=True).double().cpu().numpy())
    return np.concatenate(parts) if parts else np.empty((0, model.net.num_features))
