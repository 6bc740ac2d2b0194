"""A stage trains what it should and nothing else, and a killed one ends where an undisturbed one does."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from taxaforge.diffusion import checkpoint, lora
from taxaforge.diffusion.backbone import BadGenerator, load
from taxaforge.diffusion.data import Latents
from taxaforge.diffusion.stage import prepare, train
from taxaforge.diffusion.training import Run
from taxaforge.files import read_json, read_lines
from taxaforge.packs import Pack

LEVELS = ["order", "genus", "species"]


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
    data = Pack.load(files["pack"])
    backbone, trainable = prepare(stage, lineages, cfg_of(), 3, stages[init])
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    run = Run(backbone, trainable, stage, cfg_of(), 3)
    for _ in range(3):
        run.advance(Latents(backbone, data), torch.from_numpy(data.label))
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
    with pytest.raises(BadGenerator, match="no stage 'tribe'"):
        prepare("tribe", lineages, cfg_of(), 3, stages["order"])


def test_a_stage_writes_its_history_and_manifest(stages):
    history = read_lines(stages["base"] / "history.jsonl")
    assert [line["step"] for line in history] == [1, 2, 3, 4]
    assert history[-1]["images"] == 16 and set(history[0]) == {"step", "images", "loss", "learning_rate", "seconds"}
    manifest = read_json(stages["order"] / "manifest.json")
    assert manifest["stage"] == "order" and manifest["lora_rank"] == 2 and manifest["levels"] == LEVELS


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


def test_a_killed_stage_goes_on_from_its_checkpoint_and_ends_bit_for_bit_the_same(files, tmp_path, cfg_of):
    cfg = cfg_of(steps=30, checkpoint_every=5)
    arguments = {"stage": "base", "cfg": cfg, "seed": 3, **{name: str(path) for name, path in files.items()}}
    script = f"from taxaforge.diffusion.stage import train\ntrain(**{arguments}, out={str(tmp_path / 'a')!r}, state_dir={str(tmp_path / 's')!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "s" / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (tmp_path / "a").exists()
    train(**arguments, out=tmp_path / "a", state_dir=tmp_path / "s")
    train(**arguments, out=tmp_path / "b", state_dir=tmp_path / "t")
    resumed = read_lines(tmp_path / "s" / "events.jsonl")[1]
    assert resumed["event"] == "resumed" and 0 < resumed["step"] < 30
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_a_second_trainer_on_one_state_is_refused_with_the_process_id(tmp_path):
    refused = pytest.raises(checkpoint.AlreadyTraining, match=str(os.getpid()))
    with checkpoint.opened(tmp_path, {}), refused, checkpoint.opened(tmp_path, {}):
        pass
    with checkpoint.opened(tmp_path, {}):
        pass


def test_a_state_of_other_settings_is_refused(tmp_path):
    with checkpoint.opened(tmp_path, {"seed": 1}) as state:
        state.save({"step": 1})
        assert state.load() == {"step": 1}
    with checkpoint.opened(tmp_path, {"seed": 2}) as state, pytest.raises(checkpoint.OtherTraining):
        state.load()


def test_signals_work_as_before_after_training():
    before = signal.getsignal(signal.SIGTERM)
    with checkpoint.stop_flag() as flag:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert flag.is_set()
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_written_weights_are_the_averaged_ones(files, stages, tmp_path, cfg_of):
    train(stage="base", **files, cfg=cfg_of(ema=0.0), seed=3, out=tmp_path / "last", state_dir=tmp_path / "s")
    state = torch.load(tmp_path / "s" / "last.pt", weights_only=True)
    name = "unet.conv_in.weight"
    assert torch.equal(load(tmp_path / "last", texts=files["texts"]).get_parameter(name), state["weights"][name])
    averaged = load(stages["base"], texts=files["texts"]).get_parameter(name)
    kept = torch.load(stages["base"].parent / "state" / "base" / "last.pt", weights_only=True)
    assert torch.equal(averaged, kept["averaged"][name]) and not torch.equal(averaged, kept["weights"][name])
    assert torch.equal(kept["weights"][name], state["weights"][name])  # averaging does not touch the training


def test_level_modules_learn_slower_than_the_denoiser_in_the_base_stage_alone(stages, lineages, files, cfg_of):
    data, rates = Pack.load(files["pack"]), {}
    for stage, init in (("base", None), ("order", stages["base"])):
        backbone, trainable = prepare(stage, lineages, cfg_of(), 3, init)
        run = Run(backbone, trainable, stage, cfg_of(), 3)
        run.advance(Latents(backbone, data), torch.from_numpy(data.label))
        rates[stage] = [group["lr"] for group in run.optimiser.param_groups]
    assert rates["base"][0] == pytest.approx(0.1 * rates["base"][1])
    assert rates["order"][0] == rates["order"][1]
