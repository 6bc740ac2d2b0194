"""Stages: what they train, what they leave alone, and that a stopped one ends where an undisturbed one does."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from taxaforge.diffusion import checkpoint, devices, lora, watching
from taxaforge.diffusion.backbone import BadGenerator, load
from taxaforge.diffusion.stage import prepare, start, train
from taxaforge.diffusion.training import Diverged, Run
from taxaforge.diffusion.variants import BadStage
from taxaforge.files import read_json, read_lines
from taxaforge.packs import Pack

LEVELS = ["order", "genus", "species"]


@contextmanager
def running(stage: str, lineages, files, cfg: dict, init, seed: int = 3, micro_batch: int = 0) -> Iterator[Run]:
    """A run of a stage at its first step."""
    with devices.opened("cpu", cfg["precision"]) as accelerator:
        yield start(stage, lineages, Pack.load(files["pack"]), cfg, seed, init, accelerator, micro_batch=micro_batch)


def weights(folder) -> dict[str, torch.Tensor]:
    return {
        f"{file.name}:{name}": value
        for file in folder.rglob("*.safetensors")
        for name, value in load_file(file).items()
    }


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("stage, init", zip(LEVELS, ["base", *LEVELS[:-1]], strict=True), ids=LEVELS)
def test_a_level_stage_moves_its_own_level_and_leaves_the_rest_bit_for_bit(
    stages, lineages, files, stage, init, cfg_of
):
    with running(stage, lineages, files, cfg_of(), stages[init]) as run:
        backbone, trainable = run.objective.backbone, {name.removeprefix("backbone.") for name in run.names}
        before = {name: value.clone() for name, value in backbone.state_dict().items()}
        for _ in range(3):
            run.advance()
    moved = {name for name, value in backbone.state_dict().items() if not torch.equal(value, before[name])}
    own = f"conditioning.encoders.{LEVELS.index(stage)}."
    assert any(name.startswith(own) for name in moved)
    assert all(name.startswith(own) or (stage == LEVELS[0] and ".lora_" in name) for name in moved)
    frozen = [value for name, value in backbone.named_parameters() if name not in trainable]
    assert all(value.grad is None and not value.requires_grad for value in frozen)


def test_dropout_acts_in_the_trained_level_alone(stages, lineages, cfg_of):
    backbone, _ = prepare("genus", lineages, cfg_of(), 3, stages["order"])
    encoders, tokens = backbone.conditioning.encoders, lineages.tokens
    for level in (0, 2):
        assert torch.equal(encoders[level](tokens), encoders[level](tokens))
    assert (encoders[1](tokens) - encoders[1](tokens)).abs().max() > 0.1
    assert not any(module.training for module in backbone.unet.modules())


def test_the_base_stage_moves_the_denoiser_and_every_level(stages, lineages, cfg_of):
    fresh, trainable = prepare("base", lineages, cfg_of(), 3, None)
    assert len(trainable) == len(list(fresh.parameters()))
    trained = load_file(stages["base"] / "levels.safetensors")
    for name, value in fresh.conditioning.state_dict().items():
        assert not torch.equal(value, trained[name]), name


def test_adapters_change_nothing_at_first_and_fold_to_what_the_library_computes(stages, lineages, tmp_path, cfg_of):
    backbone, _ = prepare("order", lineages, cfg_of(), 3, stages["base"])
    generator = torch.Generator().manual_seed(0)
    z, t = torch.randn(2, *backbone.latent_shape, generator=generator), torch.tensor([5, 900])
    plain, _ = prepare("base", lineages, cfg_of(), 3, None)
    plain.unet.load_state_dict(load_file(stages["base"] / "unet" / "diffusion_pytorch_model.safetensors"))
    with torch.no_grad():
        tokens = backbone.condition(torch.tensor([0, 2]), 1)
        assert torch.equal(backbone.predict(z, t, tokens), plain.predict(z, t, tokens))
        for value in lora.parameters(backbone.unet).values():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.3)
        adapted = backbone.predict(z, t, tokens)
        assert (adapted - plain.predict(z, t, tokens)).abs().max() > 1e-3
        lora.save(lora.parameters(backbone.unet), tmp_path)
        lora.fold(plain.unet, tmp_path)
        assert (adapted - plain.predict(z, t, tokens)).abs().max() < 1e-5


def test_a_generator_without_its_adapters_or_levels_is_refused(stages, files, tmp_path):
    for lost in ("lora/pytorch_lora_weights.safetensors", "levels.safetensors", "manifest.json"):
        broken = tmp_path / lost.replace("/", "-")
        shutil.copytree(stages["species"], broken)
        (broken / lost).unlink()
        with pytest.raises((lora.LoraMismatch, BadGenerator), match="is missing"):
            load(broken, texts=files["texts"])


def test_stages_must_follow_each_other(stages, lineages, cfg_of):
    with pytest.raises(BadGenerator, match="starts from genus, but was given order"):
        prepare("species", lineages, cfg_of(), 3, stages["order"])
    with pytest.raises(BadStage, match="no stage 'tribe'"):
        prepare("tribe", lineages, cfg_of(), 3, stages["order"])
    with pytest.raises(BadGenerator, match="starts from base, but was given nothing"):
        prepare("order", lineages, cfg_of(), 3, None)


def test_a_stage_writes_its_history_and_manifest(stages):
    history = read_lines(stages["base"] / "history.jsonl")
    assert [line["step"] for line in history] == [1, 2, 3, 4]
    assert history[-1]["images"] == 16 and set(history[0]) == {
        "step", "images", "loss", "learning_rate", "seconds", "images_per_second", "memory_mib", "loss_by_level",
        "loss_by_time",
    }  # fmt: skip
    manifest = read_json(stages["order"] / "manifest.json")
    assert manifest["stage"] == "order" and manifest["lora_rank"] == 2 and manifest["levels"] == LEVELS
    assert manifest["trained"] == 3 and manifest["own_unet"] and manifest["prediction"] == "v_prediction"


class After:
    """Asks this process to stop after a number of logged steps."""

    def __init__(self, step: int):
        self.step = step

    def __call__(self, step, values) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_stopped_stage_goes_on_and_ends_bit_for_bit_where_an_undisturbed_one_does(stages, files, tmp_path, cfg_of):
    again = {"stage": "order", **files, "cfg": cfg_of(), "seed": 3, "init": stages["base"], "state_dir": tmp_path / "s"}
    with pytest.raises(checkpoint.Stopped, match="step 2 of 4"):
        train(**again, out=tmp_path / "out", log=After(2))
    assert not (tmp_path / "out").exists()
    train(**again, out=tmp_path / "out")
    assert equal(weights(tmp_path / "out"), weights(stages["order"]))
    losses = [[line["loss"] for line in read_lines(f / "history.jsonl")] for f in (tmp_path / "out", stages["order"])]
    assert losses[0] == losses[1]
    events = [line["event"] for line in read_lines(tmp_path / "s" / "events.jsonl")]
    assert events == ["started", "stopped", "resumed", "finished"]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_stage_killed_at_any_moment_ends_bit_for_bit_where_an_undisturbed_one_does(seed, files, tmp_path, cfg_of):
    watch = {"samples_every": 0, "validate_every": 5, "validation_images": 8, "patience": 3}
    cfg = cfg_of(steps=40, checkpoint_every=3, level_dropout=0.1, noise_offset=0.1, min_snr_gamma=5.0, watch=watch)
    files = {**files, "validation": files["pack"]}
    arguments = {"stage": "base", "cfg": cfg, "seed": 3, **{name: str(path) for name, path in files.items()}}
    script = (
        "from taxaforge.diffusion.stage import train\n"
        f"train(**{arguments}, out={str(tmp_path / 'a')!r}, state_dir={str(tmp_path / 's')!r})"
    )
    events, rng, kills = tmp_path / "s" / "events.jsonl", random.Random(seed), 0
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
        )
        seen = len(events.read_text().splitlines()) if events.exists() else 0
        while process.poll() is None and (not events.exists() or len(events.read_text().splitlines()) == seen):
            time.sleep(0.01)  # until it trains
        time.sleep(rng.uniform(0, 0.6))
        kills += process.poll() is None
        process.kill()
        process.wait()
        if (tmp_path / "a").exists():
            break
    train(**arguments, out=tmp_path / "a", state_dir=tmp_path / "s")
    train(**arguments, out=tmp_path / "b", state_dir=tmp_path / "t")
    assert kills and equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    kept = [
        [{name: line[name] for name in line if name not in MACHINE} for line in read_lines(f / "history.jsonl")]
        for f in (tmp_path / "a", tmp_path / "b")
    ]
    assert kept[0] == kept[1]


MACHINE = ("seconds", "images_per_second", "memory_mib")


def test_signals_work_as_before_after_training():
    before = signal.getsignal(signal.SIGTERM)
    with checkpoint.stop_flag() as flag:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert flag.is_set()
    assert signal.getsignal(signal.SIGTERM) is before


def checkpointed(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(sorted(folder.glob("step-*.safetensors"))[-1])


def test_the_written_weights_are_the_averaged_ones(files, stages, tmp_path, cfg_of):
    train(stage="base", **files, cfg=cfg_of(ema=0.0), seed=3, out=tmp_path / "last", state_dir=tmp_path / "s")
    last, name = checkpointed(tmp_path / "s"), "unet.conv_in.weight"
    stored = load(tmp_path / "last", texts=files["texts"]).get_parameter(name)
    assert torch.equal(stored, last[f"weight/backbone.{name}"])
    averaged = load(stages["base"], texts=files["texts"]).get_parameter(name)
    kept = checkpointed(stages["base"].parent / "state" / "base")
    weight, average = (kept[f"{kind}/backbone.{name}"] for kind in ("weight", "average"))
    assert torch.equal(averaged, average) and not torch.equal(averaged, weight)
    assert torch.equal(weight, last[f"weight/backbone.{name}"])  # averaging does not touch the training


@pytest.mark.parametrize("stage, init, share", [("base", None, 0.1), ("order", "base", 1.0)])
def test_level_modules_learn_slower_than_a_denoiser_from_scratch(stage, init, share, files, stages, lineages, cfg_of):
    with running(stage, lineages, files, cfg_of(), stages[init] if init else None) as run:
        run.advance()
        rates = {
            (".conditioning." in name): group["lr"]
            for group in run.optimiser.param_groups
            for name, value in zip(run.names, run.values, strict=True)
            if any(value is other for other in group["params"])
        }
    assert rates[True] == pytest.approx(share * rates[False])


def test_pieces_of_a_batch_add_up_to_the_batch(lineages, files, cfg_of):
    ends = []
    for micro_batch in (0, 3, 1):
        with running("base", lineages, files, cfg_of(steps=3, batch_size=8), None, micro_batch=micro_batch) as run:
            for _ in range(3):
                run.advance()
            ends.append(([value.detach().clone() for value in run.values], run.line()["loss"]))
    for values, loss in ends[1:]:
        assert loss == pytest.approx(ends[0][1], rel=1e-5)
        whole = torch.cat([value.flatten() for value in ends[0][0]])
        assert (torch.cat([value.flatten() for value in values]) - whole).norm() < 1e-3 * whole.norm()


def test_levels_above_a_batch_are_left_alone_by_the_optimiser(lineages, files, cfg_of, monkeypatch):
    cfg = cfg_of(variant="random_level", trainable="full", weight_decay=0.5, null_probability=0.0)
    with running("random_level", lineages, files, cfg, None) as run:
        run.batches = lambda step, whole=run.batches: replace(whole(step), upto=torch.zeros(4, dtype=torch.long))
        before = [value.detach().clone() for value in run.values]
        for _ in range(3):
            run.advance()
        moved = {name for name, value, old in zip(run.names, run.values, before, strict=True) if (value != old).any()}
        levels = {name.split("encoders.")[1][0] for name in moved if ".encoders." in name}
        assert levels == {"0"} and any(".unet." in name for name in moved)


def test_a_run_that_diverges_says_so(lineages, files, cfg_of, tmp_path):
    with pytest.raises(Diverged, match=r"its loss at step \d+ is nan.*Lower diffusion.learning_rate"):
        train(stage="base", **files, cfg=cfg_of(learning_rate=1e30, steps=20, clip=1e9), seed=0,
              out=tmp_path / "o", state_dir=tmp_path / "s")  # fmt: skip


def test_validation_stops_a_stage_that_gets_no_better_and_hands_on_its_best(files, tmp_path, cfg_of):
    watch = {"samples_every": 0, "validate_every": 1, "validation_images": 8, "patience": 3}
    cfg = cfg_of(steps=200, learning_rate=0.3, schedule="constant", warm_up=0.0, ema=0.0, watch=watch)
    told = []
    train(stage="base", **files, validation=files["pack"], cfg=cfg, seed=0, out=tmp_path / "o",
          state_dir=tmp_path / "s", log=lambda step, values: told.append((step, values)))  # fmt: skip
    history = read_lines(tmp_path / "o" / "history.jsonl")
    losses = [line["validation_loss"] for line in history]
    best = losses.index(min(losses))
    assert len(losses) == best + 4 < 200
    assert told[-1][0] is None and told[-1][1]["best_validation_loss"] == losses[best]
    cfg = {**cfg, "steps": best + 1, "watch": {**watch, "patience": 0}}
    train(stage="base", **files, cfg=cfg, seed=0, out=tmp_path / "short", state_dir=tmp_path / "t")
    assert equal(weights(tmp_path / "o"), weights(tmp_path / "short"))


def test_looking_changes_nothing_about_the_training(files, stages, tmp_path, cfg_of):
    watch = {"samples_every": 2, "validate_every": 1, "validation_images": 8, "patience": 0}
    shown = []
    train(stage="base", **files, validation=files["pack"], cfg=cfg_of(watch=watch), seed=3, out=tmp_path / "o",
          state_dir=tmp_path / "s", show=lambda name, path: shown.append((name, path.read_bytes())))  # fmt: skip
    assert equal(weights(tmp_path / "o"), weights(stages["base"]))
    assert [name for name, _ in shown] == ["samples/step-000002.png", "samples/step-000004.png"]
    for name, content in shown:
        assert (tmp_path / "o" / name).read_bytes() == content
    assert shown[0][1] != shown[1][1]
    grid = Image.open(tmp_path / "o" / "samples" / "step-000004.png")
    assert grid.size == (4 * 64, 3 * 64)


def test_the_last_grid_shows_what_the_stage_hands_on(files, tmp_path, cfg_of, lineages):
    watch = {"samples_every": 4, "validate_every": 0, "validation_images": 8, "patience": 0}
    train(stage="base", **files, cfg=cfg_of(watch=watch), seed=3, out=tmp_path / "o", state_dir=tmp_path / "s")
    backbone = load(tmp_path / "o", texts=files["texts"])
    again = watching.grid(backbone, 3, 2, 3)
    assert np.array_equal(again, np.asarray(Image.open(tmp_path / "o" / "samples" / "step-000004.png")))


VARIANTS = [
    ("progressive", "lora"), ("progressive", "modules"), ("progressive", "full"), ("random_level", "published"),
    ("joint", "modules"), ("joint", "full"),
]  # fmt: skip


@pytest.mark.parametrize("variant, trainable", VARIANTS)
def test_every_variant_trains_from_a_base_and_loads(variant, trainable, stages, files, tmp_path, cfg_of):
    cfg, init = cfg_of(variant=variant, trainable=trainable, steps=2, zero_gate=False), stages["base"]
    for stage in LEVELS if variant == "progressive" else [variant]:
        train(stage=stage, **files, cfg=cfg, seed=3, init=init, out=tmp_path / stage, state_dir=tmp_path / "s" / stage)
        init = tmp_path / stage
    before, after = (load(folder, texts=files["texts"]) for folder in (stages["base"], init))
    assert after.levels == LEVELS
    moved = {
        part
        for part in ("unet", "conditioning")
        for a, b in zip(getattr(before, part).parameters(), getattr(after, part).parameters(), strict=True)
        if not torch.equal(a, b)
    }
    assert moved == ({"conditioning"} if trainable == "modules" else {"unet", "conditioning"})


def test_adapters_that_go_on_in_a_later_stage_start_where_they_were(stages, files, tmp_path, cfg_of, lineages):
    cfg, texts = cfg_of(trainable="lora", steps=2), files["texts"]
    train(stage="order", **files, cfg=cfg, seed=3, init=stages["base"], out=tmp_path / "o", state_dir=tmp_path / "s")
    on, _ = prepare("genus", lineages, cfg, 3, tmp_path / "o")
    folded = load(tmp_path / "o", texts=texts)
    z, t, label = torch.randn(2, *on.latent_shape), torch.tensor([5, 900]), torch.tensor([0, 2])
    with torch.no_grad():
        tokens = folded.condition(label, 0)
        assert (on.predict(z, t, tokens) - folded.predict(z, t, tokens)).abs().max() < 1e-5
    with pytest.raises(lora.LoraMismatch, match="lora_rank"):
        prepare("genus", lineages, cfg_of(trainable="lora", lora_rank=3), 3, tmp_path / "o")


def test_a_run_without_a_base_trains_the_whole_denoiser_level_by_level(files, tmp_path, cfg_of):
    cfg, init = cfg_of(trainable="full", zero_gate=True, prediction="epsilon"), None
    for number, stage in enumerate(LEVELS, 1):
        train(stage=stage, **files, cfg=cfg, seed=3, init=init, out=tmp_path / stage, state_dir=tmp_path / "s" / stage)
        init = tmp_path / stage
        backbone = load(init, texts=files["texts"])
        assert backbone.levels == LEVELS[:number] and backbone.native == "epsilon"
        assert len(backbone.conditioning.gates) == number
    assert backbone.conditioning.gates[0].item() == pytest.approx(1.0, abs=0.1)
    assert backbone.conditioning.gates[2].item() != 0


def test_bfloat16_keeps_what_trains_in_single_precision_and_learns_alike(stages, lineages, files, cfg_of):
    ends = {}
    for precision in ("fp32", "bf16"):
        with running("order", lineages, files, cfg_of(precision=precision, steps=6), stages["base"]) as run:
            backbone, half = run.objective.backbone, devices.DTYPES.get(precision, torch.float32)
            assert all(value.dtype == torch.float32 for value in run.values)
            assert backbone.unet.conv_in.weight.dtype == half
            assert all(value.dtype == torch.float32 for value in backbone.conditioning.parameters())
            for _ in range(6):
                run.advance()
            ends[precision] = run.line()["loss"]
    assert ends["bf16"] == pytest.approx(ends["fp32"], rel=0.02) and ends["bf16"] != ends["fp32"]


def test_fp16_without_a_gpu_is_refused():
    with pytest.raises(devices.NoSuchPrecision, match="needs a GPU"), devices.opened("cpu", "fp16"):
        pass


def test_recomputed_activations_give_the_same_weights(stages, files, lineages, cfg_of):
    ends, data = [], Pack.load(files["pack"])
    for again in (False, True):
        with devices.opened("cpu", "fp32") as accelerator:
            run = start("order", lineages, data, cfg_of(), 3, stages["base"], accelerator, gradient_checkpointing=again)
            calls = []
            run.objective.backbone.unet.down_blocks[0].resnets[0].register_forward_pre_hook(
                lambda *_, c=calls: c.append(1)
            )
            run.advance()
            assert len(calls) == 1 + again
            ends.append([value.detach().clone() for value in run.values])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
