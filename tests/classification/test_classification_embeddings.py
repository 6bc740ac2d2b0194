"""Features of a frozen backbone: what they are, and when the kept ones are used."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from taxaforge import locks
from taxaforge.classification import embeddings, looks, model
from taxaforge.classification.predict import features
from taxaforge.errors import TaxaforgeError

STRENGTH = {"operations": 2, "magnitude": 9}


@pytest.fixture
def classifier():
    return model.create("test_resnet", ["Aa bb", "Cc dd"], 16, seed=1)


@pytest.fixture
def counted(monkeypatch):
    """Looks that were computed, in their order."""
    done, compute = [], embeddings.compute

    def watched(classifier, pack, look, *rest):
        done.append(look)
        return compute(classifier, pack, look, *rest)

    monkeypatch.setattr(embeddings, "compute", watched)
    return done


def test_the_first_look_is_what_the_head_sees_of_the_images_as_they_are(classifier, toy_pack, tmp_path):
    pack = toy_pack("a", per_class=40)  # more than a batch
    (found,) = embeddings.embedded(classifier, pack, [0], tmp_path)
    assert found.dtype == np.float32 and isinstance(found, np.memmap)
    assert np.allclose(found, features(classifier, pack.pixels), atol=1e-5)


def test_a_look_is_computed_once_and_one_look_more_computes_that_look_alone(classifier, toy_pack, tmp_path, counted):
    pack = toy_pack("a")
    first = embeddings.embedded(classifier, pack, range(3), tmp_path)
    assert counted == [0, 1, 2]
    with torch.no_grad():
        classifier.net.fc.weight.zero_()
    again = embeddings.embedded(classifier, pack, range(4), tmp_path)
    assert counted == [0, 1, 2, 3]  # another head over the same backbone: what is kept serves it
    assert all(np.array_equal(one, two) for one, two in zip(first, again[:3], strict=True))
    assert not np.array_equal(again[1], again[2])


@pytest.mark.parametrize(
    "change, computed",
    [
        pytest.param({"pixel": True}, [0, 1], id="another pixel"),
        pytest.param({"seed": 2}, [0, 1], id="other weights"),
        pytest.param({"size": 20}, [0, 1], id="another size"),
        pytest.param({"mean": (0.4, 0.5, 0.5)}, [0, 1], id="another normalisation"),
        pytest.param({"identifier": True}, [1], id="another identifier draws another augmentation"),
        pytest.param({"strength": STRENGTH}, [1], id="another strength"),
        pytest.param({"arguments": {"drop": (0.1,)}}, [0, 1], id="another argument of the constructor"),
        pytest.param({"label": True}, [], id="labels are no part of a feature"),
    ],
)
def test_features_of_anything_else_are_computed_anew(classifier, toy_pack, tmp_path, counted, change, computed):
    pack = toy_pack("a")
    embeddings.embedded(classifier, pack, [0, 1], tmp_path)
    del counted[:]
    if change.get("pixel"):
        pixels = pack.pixels.copy()
        pixels[-1, -1, -1, -1] ^= 1
        pack = replace(pack, pixels=pixels)
    if change.get("identifier"):
        pack = replace(pack, identifier=["other", *pack.identifier[1:]])
    if change.get("label"):
        pack = replace(pack, label=pack.label[::-1].copy())
    other = model.create("test_resnet", ["Aa bb", "Cc dd"], change.get("size", 16), seed=change.get("seed", 1))
    other = replace(other, mean=change.get("mean", other.mean), arguments=change.get("arguments", {}))
    embeddings.embedded(other, pack, [0, 1], tmp_path, strength=change.get("strength"))
    assert counted == computed


def test_a_changed_augmentation_is_noticed_without_a_version(classifier, toy_pack, tmp_path, counted, monkeypatch):
    embeddings.embedded(classifier, toy_pack("a"), [0, 1], tmp_path)
    monkeypatch.setattr(looks, "standard", lambda x, generator: (x * 0.9).clamp(0, 1))
    embeddings.embedded(classifier, toy_pack("a"), [0, 1], tmp_path)
    assert counted == [0, 1, 1]


@pytest.mark.parametrize("damage", ["cut", "flipped", "note", "other note"])
def test_damaged_features_are_computed_anew_with_a_sentence(classifier, toy_pack, tmp_path, counted, capsys, damage):
    pack = toy_pack("a")
    first = np.array(embeddings.embedded(classifier, pack, [0], tmp_path)[0])
    (path,), (note,) = tmp_path.glob("*.npy"), tmp_path.glob("*.json")
    data = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(data[:-40])
    elif damage == "flipped":
        data[-1] ^= 1
        path.write_bytes(data)
    else:
        note.write_text('{"look": 0}' if damage == "other note" else "{")
    (found,) = embeddings.embedded(classifier, pack, [0], tmp_path)
    assert counted == [0, 0] and np.array_equal(found, first)
    assert f"{path.name} are damaged" in capsys.readouterr().err
    embeddings.embedded(classifier, pack, [0], tmp_path)
    assert counted == [0, 0]


def test_features_without_their_note_are_not_trusted(classifier, toy_pack, tmp_path, counted):
    embeddings.embedded(classifier, toy_pack("a"), [0], tmp_path)
    next(tmp_path.glob("*.json")).unlink()  # killed between the two files
    embeddings.embedded(classifier, toy_pack("a"), [0], tmp_path)
    assert counted == [0, 0]


@pytest.mark.parametrize("strength", [None, STRENGTH])
def test_a_look_belongs_to_the_image_whatever_the_batch(classifier, toy_pack, strength):
    pack = toy_pack("a")
    whole = looks.looked(classifier, pack, range(len(pack)), 2, strength)
    parts = torch.cat([looks.looked(classifier, pack, range(i, i + 1), 2, strength) for i in range(len(pack))])
    assert torch.equal(whole, parts)
    assert not torch.equal(whole, looks.looked(classifier, pack, range(len(pack)), 3, strength))
    plain = looks.looked(classifier, pack, range(len(pack)), 0, strength)
    assert torch.equal(plain, classifier.normalised(classifier.resized(pack.pixels)))
    assert not torch.equal(whole, plain)


def test_random_operations_change_a_look(classifier, toy_pack):
    pack = toy_pack("a")
    plain, strong = (looks.looked(classifier, pack, range(24), 1, strength) for strength in (None, STRENGTH))
    assert (plain != strong).flatten(1).any(1).float().mean() > 0.5  # each operation is done with probability 1/2


def test_features_of_a_model_with_arguments_are_kept_too(classifier, toy_pack, tmp_path, counted, capsys):
    published = replace(classifier, arguments={"sizes": (1, 2)})  # a tuple, which JSON gives back as a list
    for _ in range(2):
        embeddings.embedded(published, toy_pack("a"), [0], tmp_path)
    assert counted == [0] and "damaged" not in capsys.readouterr().err


def test_what_several_jobs_want_at_once_is_computed_by_one(classifier, toy_pack, tmp_path, monkeypatch):
    """Threads stand for jobs: a lock belongs to the file as each of them opened it."""
    pack, calls, compute = toy_pack("a"), [], embeddings.compute

    def slow(*given):
        calls.append(given)
        time.sleep(0.3)
        compute(*given)

    monkeypatch.setattr(embeddings, "compute", slow)
    with ThreadPoolExecutor(3) as jobs:
        asked = [jobs.submit(embeddings.embedded, classifier, pack, [0], tmp_path) for _ in range(3)]
    one, *others = (job.result()[0] for job in asked)
    assert len(calls) == 1 and all(np.array_equal(one, other) for other in others)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".npy"]


def test_kept_features_are_read_where_nothing_can_be_written(classifier, toy_pack, tmp_path, monkeypatch, counted):
    def refuses(*given):
        raise OSError(30, "Read-only file system")

    first = embeddings.embedded(classifier, toy_pack("a"), [0], tmp_path)[0]
    monkeypatch.setattr(locks.os, "open", refuses)
    assert np.array_equal(embeddings.embedded(classifier, toy_pack("a"), [0], tmp_path)[0], first) and counted == [0]


def test_where_the_disk_knows_no_locks_features_are_computed_all_the_same(classifier, toy_pack, tmp_path, monkeypatch):
    def refuses(*given):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuses)
    embeddings.embedded(classifier, toy_pack("a"), [0], tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".npy"]


def test_features_that_are_not_finite_are_refused_and_leave_no_file(classifier, toy_pack, tmp_path):
    with torch.no_grad():
        next(classifier.net.parameters()).fill_(torch.nan)
    with pytest.raises(TaxaforgeError, match="not finite"):
        embeddings.embedded(classifier, toy_pack("a"), [0], tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_digest_is_of_the_backbone_alone(classifier):
    before = embeddings.digest_of(classifier)
    with torch.no_grad():
        classifier.net.fc.weight.zero_()
    assert embeddings.digest_of(classifier) == before
    with torch.no_grad():
        classifier.net.layer4[0].bn1.running_mean[0] += 1  # a buffer is part of what the network computes
    assert embeddings.digest_of(classifier) != before
