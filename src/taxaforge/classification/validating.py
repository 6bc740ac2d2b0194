"""What validation says about a classifier, and which of two it likes better."""

import numpy as np


def judged(probability: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Macro accuracy (mean recall of the classes present) and mean negative log-likelihood.

    Args: probability: (N, C), rows sum to 1. label: (N,) classes. N at least 1.
    """
    right = probability.argmax(1) == label
    recall = [right[label == c].mean() for c in np.unique(label)]
    nll = -np.log(np.maximum(probability[np.arange(len(label)), label], 1e-12))
    return {"validation_accuracy": float(np.mean(recall)), "validation_nll": float(nll.mean())}


def rank(line: dict) -> tuple[float, float]:
    """Greater for the better of two: higher accuracy, then lower negative log-likelihood."""
    return line["validation_accuracy"], -line["validation_nll"]
