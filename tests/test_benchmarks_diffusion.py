"""The pure parts of the training benchmark: what it builds, what it compares, what its table says."""

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
    from diffusion import asked

    given = {name: value for name, value in vars(asked([])).items() if name not in ("keep", "read", "write")}
    moments = {"snakemake": 0.5, "imported": 4.0, "ready": 4.5, "stepped": 5.0}
    return {
        "given": given,
        "command": given["command"],
        "commit": "abc1234",
        "machine": {"name": "2 cores, x86_64", "torch": "2.11"},
        "steps": {
            "seconds": {"ours": [0.5, 0.5, 0.4], "peer": [1.0, 0.8, 0.8]},
            "latents": {"ours": [0.5, 0.5], "memory": [0.49, 0.49]},
            "flop": {"ours": 10_000_000_000, "peer": 16_000_000_000},
            "encoding_s": 0.9,
            "trained": {"ours": 900, "peer": 300},
            "parameters": {"UNet": 53_000_000, "VAE": 5_000_000, "text encoder": 13_000_000},
        },
        "memory": {
            "published": {"peak": 2000.0, "imported": 800.0, "trained": 2_800_000, "frozen": 244_000_000},
            "full": {"peak": 5000.0, "imported": 800.0, "trained": 218_000_000, "frozen": 29_000_000},
        },
        "loading": {"seconds": {"ours": [0.2, 0.2], "memory": [0.2, 0.19]}, "batch": 32},
        "startup": {"ours": [5.0, 6.0, 5.5], "bare": [4.0, 4.0, 4.0], "moments": [moments] * 3},
    }


def cells(text: str, figure: str) -> list[str]:
    """The row of a figure: ours, beside, ratio, bar, reached."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {figure}")]
    return [cell.strip() for cell in line.split("|")][2:-1]


def test_at_width_1_the_random_pipeline_is_stable_diffusion_1_5():
    from diffusion_inputs import build

    counts = {
        part: sum(v.numel() for v in build(part, 1, "meta").parameters()) for part in ("unet", "vae", "text_encoder")
    }
    assert counts == {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}


@pytest.mark.parametrize("eighths", range(1, 9))
def test_every_eighth_of_the_width_scales_all_three_parts_alike(eighths):
    from diffusion_inputs import configs

    made = configs(eighths / 8)
    channels = (made["unet"]["block_out_channels"][0], made["vae"]["block_out_channels"][0])
    assert channels == (40 * eighths, 16 * eighths)
    assert made["text_encoder"]["hidden_size"] == made["unet"]["cross_attention_dim"] == 96 * eighths
    assert channels[0] // made["unet"]["attention_head_dim"] == 40


def test_loops_take_turns_and_the_first_block_is_not_timed():
    from diffusion import alternate

    calls = []
    seconds = alternate(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2, 3, lambda: calls.append("wait")
    )
    assert calls == [*["a"] * 3, "wait", *["b"] * 3, "wait"] * 3
    assert [len(values) for values in seconds.values()] == [2, 2]


def test_a_ratio_is_the_median_of_neighbouring_blocks_with_its_range():
    from diffusion_table import ratios

    assert ratios([1.0, 0.8, 0.8], [0.5, 0.5, 0.4]) == (2.0, 1.6, 2.0)


def test_a_run_that_reaches_every_bar_says_so(found):
    from diffusion_table import section

    text = section(found)
    assert text.startswith("## Training: speed, memory, start-up\n\n`python benchmarks/diffusion.py` at abc1234;")
    assert cells(text, "first stage, steps/s") == ["2", "1.25", "2.00 (1.60 to 2.00)", "at least 1.5", "yes"]
    assert cells(text, "later stage, peak") == ["2,000", "5,000", "40.0%", "at most 60 %", "yes"]
    assert cells(text, "the same without imports") == ["1,200", "4,200", "28.6%", "", ""]
    assert cells(text, "base stage of the default, from its pack")[2:] == [
        "97.5% (95.0% to 100.0%)",
        "at least 95 %",
        "yes",
    ]
    assert cells(text, "first stage, from its latents") == [
        "500.0",
        "490.0",
        "98.0% (98.0% to 98.0%)",
        "at least 95 %",
        "yes",
    ]
    assert cells(text, "start of the default")[:2] == ["5.50, worst 6.00", "4.00"]
    assert cells(text, "base stage of the default, images/s")[0] == "160"
    assert "1.60" in text and "utilisation" not in text and "**no**" not in text


@pytest.mark.parametrize(
    ("figure", "spoil"),
    [
        ("first stage, steps/s", lambda f: f["steps"]["seconds"].update(peer=[0.74, 0.74, 0.74])),
        ("later stage, peak", lambda f: f["memory"]["published"].update(peak=3001.0)),
        ("base stage of the default, from its pack", lambda f: f["loading"]["seconds"].update(memory=[0.18, 0.19])),
        ("first stage, from its latents", lambda f: f["steps"]["latents"].update(memory=[0.47, 0.47])),
        ("start of the default", lambda f: f["startup"].update(ours=[5.0, 8.1, 5.0])),
    ],
)
def test_a_figure_below_its_bar_is_called_that_and_the_others_are_not(found, figure, spoil):
    from diffusion_table import section

    spoil(found)
    text = section(found)
    assert cells(text, figure)[-1] == "**no**"
    assert text.count("**no**") == 1


def test_parts_that_were_not_measured_leave_no_row(found):
    from diffusion_table import section

    del found["steps"], found["startup"], found["loading"]
    text = section(found)
    assert text.count("\n| ") == 3 and "*Memory.*" in text and "*Steps.*" not in text


def test_a_gpus_section_has_its_own_title_and_says_the_utilisation(found):
    from diffusion_table import section

    found["given"] |= {"device": "cuda", "peak_tflops": 0.1}
    for kind in ("published", "full"):
        found["memory"][kind]["imported"] = 0.0
    text = section(found)
    assert text.startswith("## Training: speed, memory, start-up, on a GPU\n")
    assert "utilisation of ours: **20.0%** of 0.1 TFLOP/s" in text  # 10 GFLOP in 0.5 s of 100 GFLOP/s
    assert "the same without imports" not in text


def test_the_command_on_the_page_names_what_was_changed_and_no_path():
    from diffusion import asked

    given = asked(
        ["--width", "1", "--device", "cuda", "--only", "steps", "memory", "--keep", "/some/where.json", "--write"]
    )
    assert given.command == "python benchmarks/diffusion.py --device cuda --width 1.0 --only steps memory"
    assert (given.workers, given.memory_width, given.peak_tflops, given.on_disk) == (8, 1.0, 989.0, False)


def test_on_the_cpu_the_pipeline_is_written_and_memory_is_measured_on_wide_weights():
    from diffusion import asked

    given = asked([])
    assert (given.workers, given.memory_width, given.peak_tflops, given.on_disk) == (0, 0.5, None, True)
