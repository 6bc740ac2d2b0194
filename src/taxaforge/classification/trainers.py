"""Which way of training the setting `classification.training` means."""

from collections.abc import Callable
from functools import partial
from pathlib import Path


def trainer(cfg: dict, cache: str | Path) -> Callable[..., None]:
    """`train.train`, or `frozen.train_probe` with its cache: both take the same keywords.

    Args:
        cfg: `training`, left out: full. Where it is `zero_shot`, what must be trained nevertheless (judge, guide) is a probe.
        cache: folder of features, which jobs may share.
    """
    if cfg.get("training", "full") == "full":
        from taxaforge.classification.train import train

        return train
    from taxaforge.classification.frozen import train_probe

    return partial(train_probe, cache=cache)
