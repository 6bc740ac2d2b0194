"""Whether images show what their species' name says, in the eyes of an image-text model."""

from collections.abc import Sequence

import numpy as np


def alignment(
    image: np.ndarray, text: np.ndarray, label: np.ndarray, siblings: Sequence[Sequence[int]]
) -> dict[str, np.ndarray]:
    """Values an image, (N,) each.

    Args:
        image, text: (N, d) and (C, d) of length 1, pictures and the species' prompts. label: (N,) species.
        siblings: of each class the classes nearest to it in the taxonomy (`semantics.relatives`).
    Returns:
        text_alignment: cosine of picture and own prompt, -1..1.
        clip_score: 100 times that, 0 where it is negative (arXiv:2104.08718, as usually printed).
        species_top1: bool, no other species' prompt is as near. The model has no answer "none of them": a
            picture without any animal may score, too.
        sibling_margin: own cosine minus that of the best sibling, -2..2; left out where a run has one species.
    """
    cosine = image @ text.T
    rows = np.arange(len(label))
    own = cosine[rows, label]
    others = cosine.copy()
    others[rows, label] = -np.inf
    values = {
        "text_alignment": own,
        "clip_score": np.maximum(100 * own, 0),
        "species_top1": own > others.max(1),
    }
    if len(text) > 1:
        values["sibling_margin"] = own - np.array(
            [others[i, list(siblings[c])].max() for i, c in enumerate(label)], dtype=np.float64
        )
    return values
