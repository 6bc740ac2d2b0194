import numpy as np
import pytest

from taxaforge.packs import Pack


@pytest.fixture
def toy_pack():
    """Pictures of two classes, told apart by which channel is bright; noise from the pack's name."""

    def make(name, per_class=12, classes=("Aa bb", "Cc dd"), size=16, per_group=1):
        rng = np.random.default_rng(list(name.encode()))
        label = np.repeat(np.arange(len(classes)), per_class)
        pixels = rng.integers(0, 120, (len(label), size, size, 3))
        pixels[np.arange(len(label)), :, :, label % 3] += 90
        n = len(label)
        return Pack(
            pixels=pixels.astype(np.uint8),
            classes=list(classes),
            identifier=[f"{name}-{i}" for i in range(n)],
            label=label,
            group=[f"{name}-g{label[i]}-{i // per_group}" for i in range(n)],
            caption=[""] * n,
        )

    return make


@pytest.fixture
def cfg():
    return {
        "model": "test_resnet",
        "weights": "",
        "epochs": 4,
        "batch_size": 8,
        "learning_rate": 4e-3,
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
        "image_size": 16,
        "augmentation": "standard",
    }
