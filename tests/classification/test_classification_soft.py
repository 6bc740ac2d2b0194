"""Images of two classes: how a pack carries them, and that learning them is learning both in proportion."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from taxaforge.classification import data, judge
from taxaforge.classification import train as module
from taxaforge.errors import TaxaforgeError
from taxaforge.packs import Pack


def softened(pack: Pack, places=(0, 5), other=1, share=0.7) -> Pack:
    others, shares = np.full(len(pack), -1), np.ones(len(pack))
    others[list(places)], shares[list(places)] = other, share
    return replace(pack, other=others, share=shares)


def test_a_pack_without_mixed_images_is_written_as_ever(toy_pack, tmp_path):
    pack = toy_pack("plain", 3)
    pack.save(tmp_path / "a.npy")
    replace(pack, other=np.full(6, -1), share=np.ones(6)).save(tmp_path / "b.npy")
    assert set(json.loads((tmp_path / "a.json").read_text())) == {"classes", "label", "identifier", "group", "caption"}
    for suffix in ("npy", "json"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    back = Pack.load(tmp_path / "a.npy")
    assert not back.soft and back.other.tolist() == [-1] * 6 and back.share.tolist() == [1.0] * 6


def test_a_pack_with_mixed_images_comes_back_as_it_was(toy_pack, tmp_path):
    pack = softened(toy_pack("mixed", 3), share=0.1 + 0.2)
    pack.save(tmp_path / "a.npy")
    back = Pack.load(tmp_path / "a.npy")
    assert back.soft and back.other.dtype == np.int64 and back.share.dtype == np.float64
    assert back.other.tolist() == pack.other.tolist() and back.share.tolist() == pack.share.tolist()


@pytest.mark.parametrize(
    ("other", "share"),
    [
        pytest.param([-1, 2], [1, 0.5], id="a class there is not"),
        pytest.param([-2, 1], [1, 0.5], id="a class below none"),
        pytest.param([-1, 1], [1, 1.5], id="more than all"),
        pytest.param([-1, 1], [1, -0.1], id="less than nothing"),
        pytest.param([-1, 1], [1, np.nan], id="no number"),
        pytest.param([-1, 1], [0.5, 0.5], id="a share without another class"),
        pytest.param([-1], [1], id="a column too short"),
        pytest.param([-1, -1], None, id="one column without the other"),
    ],
)
def test_labels_that_make_no_sense_are_refused(toy_pack, other, share):
    pack = toy_pack("wrong", 1)
    with pytest.raises(TaxaforgeError, match="Remake the pack"):
        replace(pack, other=np.array(other), share=None if share is None else np.array(share))


def test_a_part_of_a_pack_keeps_its_mixed_images(toy_pack):
    part = judge.subset(softened(toy_pack("mixed", 4)), np.array([5, 1]))
    assert part.other.tolist() == [1, -1] and part.share.tolist() == [0.7, 1.0]


def test_the_pool_gives_classes_where_all_images_have_one_and_weights_where_not(toy_pack):
    real, mixed = toy_pack("real", 3), softened(toy_pack("mixed", 3), places=(1,), share=0.25)
    indices = np.array([7, 0, 11])
    hard = data.Pool([real, replace(mixed, other=None, share=None)]).target(indices)
    assert hard.dtype == torch.int64 and hard.tolist() == [0, 0, 1]
    soft = data.Pool([real, mixed]).target(indices)
    assert soft.tolist() == [[0.25, 0.75], [1.0, 0.0], [0.0, 1.0]]


def test_shares_of_one_class_add_up():
    out = data.mixture(torch.tensor([1]), torch.tensor([1]), torch.tensor([0.3]), 3)
    assert torch.allclose(out, torch.tensor([[0.0, 1.0, 0.0]]))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_gradient_is_the_mixture_of_the_gradients_of_two_hard_losses(smoothing):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    label, other = torch.tensor([0, 1, 2, 3, 4, 0]), torch.tensor([1, -1, 0, 3, 2, 4])
    share = torch.tensor([0.7, 1.0, 0.0, 0.4, 1.0, 0.25], dtype=torch.float64)
    target = data.mixture(label, other, share, 5)
    loss = F.cross_entropy(logits, target.double(), label_smoothing=smoothing)
    (found,) = torch.autograd.grad(loss, logits)

    each = [
        F.cross_entropy(logits, c, label_smoothing=smoothing, reduction="none") for c in (label, other.clamp(min=0))
    ]
    mixed = (share * each[0] + (1 - share) * each[1]).mean()
    (wanted,) = torch.autograd.grad(mixed, logits)
    assert loss.item() == pytest.approx(mixed.item(), rel=1e-7)  # targets are float32
    assert torch.allclose(found, wanted, rtol=0, atol=1e-8)


@pytest.fixture
def run(toy_pack, cfg, tmp_path):
    for name, per_class in (("train", 12), ("validation", 6)):
        toy_pack(name, per_class).save(tmp_path / f"{name}.npy")

    def train(generated: Pack, name: str):
        generated.save(tmp_path / f"{name}-pack.npy")
        module.train(
            real=tmp_path / "train.npy", validation=tmp_path / "validation.npy", budget={"Aa bb": 10, "Cc dd": 10}, cfg=cfg | {"epochs": 1},
            synthetic=[tmp_path / f"{name}-pack.npy"], arm="real+m", seed=0, out=tmp_path / f"{name}.safetensors",
            out_history=tmp_path / f"{name}.jsonl",
        )  # fmt: skip
        return (tmp_path / f"{name}.safetensors").read_bytes(), (tmp_path / f"{name}.jsonl").read_bytes()

    return train


def test_packs_without_mixed_images_are_learned_by_class_as_ever(run, toy_pack, monkeypatch):
    """Class indices, not weights, reach the loss: the arithmetic, and so every byte, is that of packs without the columns."""
    kinds, entropy = [], F.cross_entropy

    def watched(logits, target, **kw):
        kinds.append((target.dtype, target.ndim))
        return entropy(logits, target, **kw)

    monkeypatch.setattr(F, "cross_entropy", watched)
    plain = toy_pack("generated", 8)
    first = run(plain, "a")
    assert set(kinds) == {(torch.int64, 1)}
    assert first == run(replace(plain, other=np.full(16, -1), share=np.ones(16)), "b")
    kinds.clear()
    run(softened(plain), "c")
    assert set(kinds) == {(torch.float32, 2)}


def test_mixed_images_are_learned_and_change_what_is_learned(run, toy_pack):
    plain = toy_pack("generated", 8)
    whole = run(softened(plain, places=range(16), share=1.0), "whole")
    half = run(softened(plain, places=range(8), share=0.5), "half")
    assert half == run(softened(plain, places=range(8), share=0.5), "again")
    loss = [
        [json.loads(line)["loss"] for line in history.decode().splitlines()] for _, history in (run(plain, "p"), whole)
    ]
    assert loss[0] == pytest.approx(loss[1], rel=1e-3)  # a share of 1 is a hard label
    assert whole[0] != half[0]
