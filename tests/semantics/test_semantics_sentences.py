"""Which sentences the image-text model is trained on where some classes have no image."""

import numpy as np
import open_clip
import pytest
import torch

from taxaforge.files import write_json
from taxaforge.packs import Pack
from taxaforge.semantics.captions import RANKS, caption, level_string
from taxaforge.semantics.train import sentences, train

CLASSES = [
    {"order": "Odonata", "family": "Calopterygidae", "genus": "Calopteryx", "species": "Calopteryx splendens"},
    {"order": "Odonata", "family": "Calopterygidae", "genus": "Calopteryx", "species": "Calopteryx virgo"},
    {"order": "Coleoptera", "family": "Lucanidae", "genus": "Lucanus", "species": "Lucanus cervus"},
    {"order": "Coleoptera", "family": "Carabidae", "genus": "Carabus", "species": "Carabus auratus"},
]
CFG = {
    "source": "trained", "pretrained": "", "width": 32, "layers": 1, "context_length": 16, "steps": 8, "batch_size": 6,
    "learning_rate": 4e-3,
}  # fmt: skip


def true_of(record):
    return {text(record, level) for level in RANKS if record.get(level) for text in (caption, level_string)}


@pytest.mark.parametrize("shown", [{0, 2, 3}, {0, 1, 2}, {1, 2}, {0, 1}, {2, 3}, {0}])
def test_a_sentence_is_read_only_if_it_is_true_of_a_class_with_images_and_tells_those_apart(shown):
    texts, table = sentences(CLASSES, shown)
    owners = {
        text: {i for i in range(4) if text in true_of(CLASSES[i])} for text in set().union(*map(true_of, CLASSES))
    }
    want = {text for text, own in owners.items() if own & shown and (not shown <= own or len(shown) == 1)}
    assert set(texts) == want and len(texts) == len(want)
    for text, row in zip(texts, table.tolist(), strict=True):
        assert {i for i in range(4) if row[i]} == owners[text]
    for hidden in set(range(4)) - shown:
        assert caption(CLASSES[hidden]) not in texts and level_string(CLASSES[hidden], "species") not in texts


def test_where_every_class_has_images_nothing_changes():
    texts, table = sentences(CLASSES)
    again, same = sentences(CLASSES, range(4))
    assert texts == again and torch.equal(table, same)
    # as before there were roles: every text once, in order, but those that are true of all
    plain = dict.fromkeys(
        text(record, level)
        for record in CLASSES
        for level in RANKS
        if record.get(level)
        for text in (caption, level_string)
    )
    assert texts == list(plain)  # no text is true of all four


def trained(folder, classes, labels, monkeypatch=None, read=None):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 90, (len(labels), 32, 32, 3), dtype=np.uint8)
    names = [f"image {i}" for i in range(len(labels))]
    folder.mkdir()
    Pack(pixels, [c["species"] for c in classes], names, np.array(labels), names, [""] * len(names)).save(
        folder / "train.npy"
    )
    write_json(folder / "classes.json", classes)
    if read is not None:
        tokenise = open_clip.SimpleTokenizer.__call__
        monkeypatch.setattr(
            open_clip.SimpleTokenizer,
            "__call__",
            lambda self, texts, *a: (read.append(list(texts)), tokenise(self, texts, *a))[1],
        )
    train(pack=folder / "train.npy", classes=folder / "classes.json", cfg=CFG, seed=0, out=folder / "model")
    return (folder / "model/open_clip_model.safetensors").read_bytes()


def test_training_reads_no_name_of_a_species_without_images(tmp_path, monkeypatch):
    read = []
    trained(tmp_path / "a", CLASSES, [0, 2, 3] * 4, monkeypatch, read)
    assert read and not [text for text in read[0] if "virgo" in text]  # read[0]: what the training tokenises


def test_an_unseen_species_moves_no_weight_but_through_shared_names(tmp_path):
    """Two lists that differ only in the name of a species without images give the same model."""
    other = [
        record | {"species": "Calopteryx haemorrhoidalis"} if i == 1 else record for i, record in enumerate(CLASSES)
    ]
    assert trained(tmp_path / "a", CLASSES, [0, 2, 3] * 4) == trained(tmp_path / "b", other, [0, 2, 3] * 4)
