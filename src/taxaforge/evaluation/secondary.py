"""What else differs between an arm and its control: calibration, errors along the tree, confusion among siblings.

Every number is a mean over images, so it has the same kind of interval as the accuracy. None decides a verdict.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from taxaforge.evaluation import metrics
from taxaforge.evaluation.predictions import Predictions
from taxaforge.evaluation.statistics import crossed

HIGHER_IS_BETTER = ("top5",)


def secondary_rows(
    found: Predictions, pairs: Sequence[tuple[str, str, str, str]], records: Sequence[Mapping], alpha: float
) -> list[dict]:
    """Rows of SECONDARY for (method, arm, control, control's arm).

    Means weigh species alike, so they can differ from those of ACCURACY, which weigh images alike. Metrics of
    siblings look at the images of species that have one.
    """
    heights = metrics.lca_heights(records)
    sibling = (heights == 1).any(1)[found.label]
    each: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    rows = []
    for method, arm, control, other in pairs:
        seeds = [seed for seed in found.seeds(arm) if seed in found.seeds(other)]
        for key in ((one, seed) for one in (arm, other) for seed in seeds):
            if key not in each:
                several = [metrics.by_image(found.label, probability, heights) for probability in found.repeats(*key)]
                each[key] = {name: np.mean([one[name] for one in several], axis=0) for name in several[0]}
        for metric in each[arm, seeds[0]]:
            images = sibling if metric.startswith("sibling") else np.ones(len(found.label), bool)
            if not images.any():
                continue
            with_images, without = (np.stack([each[one, s][metric] for s in seeds])[:, images] for one in (arm, other))
            estimate = crossed(with_images - without, found.label[images], found.group[images])
            low, high = estimate.interval(alpha) if estimate.df else (None, None)
            rows.append(
                {
                    "method": method,
                    "control": control,
                    "metric": metric,
                    "better": "higher" if metric in HIGHER_IS_BETTER else "lower",
                    "without": crossed(without, found.label[images], found.group[images]).value,
                    "difference": estimate.value,
                    "low": low,
                    "high": high,
                    "p": estimate.p,
                    "seeds": estimate.seeds,
                    "images": int(images.sum()),
                }
            )
    return rows
