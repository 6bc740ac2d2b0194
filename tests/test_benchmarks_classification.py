"""The classification benchmark: that it runs at its smallest, and what its table says."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Benchmarks are scripts that import each other from their own folder."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield
    for name in set(sys.modules) - before:
        if (ROOT / "benchmarks" / f"{name}.py").exists():
            del sys.modules[name]


@pytest.fixture
def found() -> dict:
    """Figures of a whole run that reaches every bar."""
    from classification import NOT_FIGURES, asked

    given = {name: value for name, value in vars(asked([])).items() if name not in NOT_FIGURES} | {"pretrained": True}
    rates = {
        "seconds": {"ours": [1.0, 2.0, 2.0], "loader": [2.0, 3.0, 3.0], "memory": [0.9, 1.6, 1.8]},
        "images": 512,
        "model": "resnet",
        "size": 64,
    }
    one = {"wall": 4.0, "imported": 2.5, "repeats": [1.25]}
    return {
        "given": given,
        "command": given["command"],
        "commit": "abc1234",
        "machine": {"name": "2 cores, x86_64", "torch": "2.11"},
        "probe": {
            "cold": {**one, "wall": 9.0},
            "warm": [one, {**one, "wall": 3.0}, {**one, "wall": 6.0}],
            "three": {**one, "repeats": [1.25, 0.75, 0.25]},
        },
        "small": rates,
        "large": {**rates, "model": "net"},
        "startup": {"seconds": {"ours": [2.2, 2.6], "bare": [2.0, 2.0]}},
    }


def cells(text: str, figure: str) -> list[str]:
    """The row of a figure: ours, beside, ratio, bar, reached."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {figure}")]
    return [cell.strip() for cell in line.split("|")][2:-1]


def smallest(*only: str):
    from classification import asked

    size = [
        "--model",
        "test_resnet",
        "--size",
        "16",
        "--species",
        "2",
        "--real",
        "4",
        "--synthetic",
        "2",
        "--views",
        "1",
    ]
    return asked(
        [*size, "--pictures", "24", "--batch", "4", "--steps", "2", "--pairs", "1", "--starts", "1", "--workers", "0", "--only", *only]
    )  # fmt: skip


def test_an_arm_of_the_probe_is_trained_in_a_process_and_its_features_are_kept(tmp_path):
    import classification_inputs as inputs
    from classification import probe_job

    inputs.arm(smallest("probe"), tmp_path)
    probe_job(tmp_path, 2)
    told = json.loads((tmp_path / "told.json").read_text())
    assert len(told["repeats"]) == 2 and told["imported"] >= 0
    assert (tmp_path / "0.safetensors").read_bytes() != (tmp_path / "1.safetensors").read_bytes()
    # Validation has one look, real and synthetic images two, and a fresh backbone belongs to its seed.
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2 * (1 + 2 + 2)


def test_both_sides_make_the_same_number_of_steps(tmp_path, monkeypatch):
    import torch
    from classification import small

    steps = []
    for kind in (torch.optim.AdamW,):
        step = kind.step
        monkeypatch.setattr(kind, "step", lambda self, *a, step=step, **k: (steps.append(1), step(self, *a, **k))[1])
    found = small(smallest("small"), tmp_path)
    assert {name: len(seconds) for name, seconds in found["seconds"].items()} == {"ours": 1, "loader": 1, "memory": 1}
    assert len(steps) == 3 * 2 * 2  # three loops, a turn before the clock and one on it, two steps
    assert found["images"] == 8


def test_a_run_that_reaches_every_bar_says_so(found):
    from classification_table import section

    text = section(found)
    assert text.startswith("## Classifiers: many small trainings\n\n`python benchmarks/classification.py` at abc1234")
    assert cells(text, "linear probe") == ["4.00 (3.00 to 6.00)", "9.00", "", "at most 6", "yes"]
    assert cells(text, "one more repeat") == ["0.50", "", "", "", ""]
    assert cells(text, "resnet at 64 px, images/s; timm's loop and loader") == [
        "256", "171", "1.50 (1.50 to 2.00)", "at least 1", "yes",
    ]  # fmt: skip
    assert cells(text, "net at 64 px, images/s; timm's loop, tensors") == ["256", "320", "0.90 (0.80 to 0.90)", "", ""]
    assert cells(text, "imports") == ["2.40", "2.00", "1.20 (1.10 to 1.30)", "", ""]
    assert "imports take 2.50 s" in text and "**no**" not in text


def test_a_figure_below_its_bar_is_called_that_and_the_others_are_not(found):
    from classification_table import section

    slow = {**found, "large": {**found["large"], "seconds": {**found["large"]["seconds"], "loader": [0.9, 1.9, 2.1]}}}
    assert cells(section(slow), "net at 64 px, images/s; timm's loop and loader")[-1] == "**no**"
    assert section(slow).count("**no**") == 1
    warm = [{**one, "wall": 6.1} for one in found["probe"]["warm"]]
    slow = {**found, "probe": {**found["probe"], "warm": warm}}
    assert cells(section(slow), "linear probe")[-1] == "**no**" and section(slow).count("**no**") == 1


def test_parts_that_were_not_measured_leave_no_row(found):
    from classification_table import section

    for part in ("probe", "large", "startup"):
        del found[part]
    text = section(found)
    assert text.count("\n| ") == 3 and "*Full training.*" in text and "*Linear probe.*" not in text


def test_the_command_on_the_page_names_what_was_changed_and_no_path(tmp_path):
    from classification import asked

    given = asked(
        ["--weights", str(tmp_path / "w.safetensors"), "--size", "64", "--keep", "/a/b.json", "--only", "probe"]
    )
    assert given.command == "python benchmarks/classification.py --weights w.safetensors --size 64 --only probe"
    assert given.weights == str(tmp_path / "w.safetensors")
