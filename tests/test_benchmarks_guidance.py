"""The guidance benchmark: that it runs at its smallest, and what its table says."""

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
    from guidance import NOT_FIGURES, asked

    given = {name: value for name, value in vars(asked([])).items() if name not in NOT_FIGURES}
    tokens = {"seconds": {"ours": [2.0, 2.0], "peer": [8.0, 6.0]}, "difference": 2e-6, "images": 48, "at_once": 48}
    return {
        "given": given,
        "command": given["command"],
        "commit": "abc1234",
        "machine": {"name": "2 cores, x86_64", "torch": "2.11"},
        "used": {
            "seconds": {"ours": [8.0, 8.0, 10.0], "peer": [10.0, 12.0, 12.0]},
            "flop": {"ours": 10_000_000_000, "peer": 13_000_000_000},
            "parameters": {"UNet": 13_000_000, "VAE": 1_000_000, "text encoder": 6_000_000},
        },
        "same": {"seconds": {"ours": [8.0, 8.0], "peer": [8.0, 9.0]}, "difference": 4e-7},
        "higfa": {
            "seconds": {"ours": [16.0, 24.0], "plain": [10.0, 15.0], "peer": [20.0, 20.0]},
            "flop": {"ours": 15_000_000_000, "plain": 10_000_000_000, "peer": 10_000_000_000},
            "once": {"denoiser": 1_000_000_000, "adapter": 400_000_000, "decoder": 2_000_000_000, "guide": 8_000_000},
            "weights": 400_000,
            "split": 0.7,
        },
        "tokens_small": tokens,
        "tokens_sd": tokens,
    }


def cells(text: str, figure: str) -> list[str]:
    """The row of a figure: ours, beside, ratio, bar, reached."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {figure}")]
    return [cell.strip() for cell in line.split("|")][2:-1]


def smallest(*only: str):
    from guidance import asked

    size = ["--size", "32", "--batch", "2", "--steps", "2", "--pairs", "1", "--token-images", "1", "--token-steps", "2"]
    return asked([*size, "--guide-size", "32", "--only", *only])


def test_both_sides_draw_the_same_latents(tmp_path):
    from guidance import same

    found = same(smallest("same"), tmp_path)
    assert found["difference"] <= 2e-5
    assert {name: len(seconds) for name, seconds in found["seconds"].items()} == {"ours": 1, "peer": 1}


def test_as_used_ours_leaves_out_the_text_encoder_and_the_guidance_outside_the_interval(tmp_path):
    from guidance import used

    given = smallest("used")
    given.interval = [0.0, 0.5]  # one of two steps
    flop = used(given, tmp_path)["flop"]
    assert flop["peer"] > flop["ours"] > 0


def test_the_guide_costs_what_decoder_and_guide_take_there_and_back(tmp_path):
    """Of two steps the second is guided; forwards, and backwards about as much again, as no weight has a gradient."""
    from guidance import higfa

    found = higfa(smallest("higfa"), tmp_path)
    more, once = found["flop"]["ours"] - found["flop"]["plain"], found["once"]
    assert 1.5 <= more / (once["decoder"] + once["guide"]) <= 2.5
    assert found["flop"]["plain"] == pytest.approx(4 * (once["denoiser"] + once["adapter"]) + once["decoder"], rel=0.1)


@pytest.mark.parametrize("part", ["tokens_small", "tokens_sd"])
def test_tokens_learned_together_have_the_gradients_of_tokens_learned_alone(part, tmp_path):
    import guidance

    found = getattr(guidance, part)(smallest(part), tmp_path)
    assert (found["images"], found["at_once"]) == (12, 12)
    assert 0 < found["difference"] <= 1e-2  # in fp32, and two steps are few: one starts at almost pure noise


def test_a_run_that_reaches_every_bar_says_so(found):
    from guidance_table import section

    text = section(found)
    assert text.startswith(
        "## Guidance: images per second beside stock pipelines\n\n`python benchmarks/guidance.py` at"
    )
    assert cells(text, "as used") == ["2", "1.33", "1.25 (1.20 to 1.50)", "at least 1.2", "yes"]
    assert cells(text, "same arithmetic") == ["2", "1.88", "1.06 (1.00 to 1.12)", "at least 1", "yes"]
    assert cells(text, "HiGFA, s an image; ours without") == [
        "1.25",
        "0.781",
        "1.60 (1.60 to 1.60)",
        "at most 1.7",
        "yes",
    ]
    assert cells(text, "HiGFA, s an image; stock") == ["1.25", "1.25", "1.00 (0.80 to 1.20)", "", ""]
    assert cells(text, "DIG-ZSL, embedded") == ["2", "7", "3.50 (3.00 to 4.00)", "at least 3", "yes"]
    assert cells(text, "DIG-ZSL, Stable")[-1] == "yes"
    assert "would make 1.30" in text and "would make 1.50" in text and "4.0e-07" in text and "**no**" not in text


@pytest.mark.parametrize(
    ("figure", "part", "name", "values"),
    [
        ("as used", "used", "peer", [9.5, 9.5, 11.9]),
        ("same arithmetic", "same", "ours", [8.1, 9.1]),
        ("HiGFA, s an image; ours without", "higfa", "ours", [17.1, 25.6]),
        ("DIG-ZSL, Stable", "tokens_sd", "peer", [5.9, 5.9]),
    ],
)
def test_a_figure_below_its_bar_is_called_that_and_the_others_are_not(found, figure, part, name, values):
    from guidance_table import section

    found[part] = {**found[part], "seconds": {**found[part]["seconds"], name: values}}
    text = section(found)
    assert cells(text, figure)[-1] == "**no**"
    assert text.count("**no**") == 1


def test_parts_that_were_not_measured_leave_no_row(found):
    from guidance_table import section

    for part in ("used", "higfa", "tokens_sd"):
        del found[part]
    text = section(found)
    assert text.count("\n| ") == 3 and "*Same arithmetic.*" in text and "*HiGFA.*" not in text


def test_the_command_on_the_page_names_what_was_changed_and_no_path():
    from guidance import asked

    given = asked(
        ["--width", "1", "--size", "512", "--device", "cuda", "--interval", "0.1", "0.7", "--keep", "/a/b.json"]
    )
    assert given.command == "python benchmarks/guidance.py --device cuda --width 1.0 --size 512 --interval 0.1 0.7"
    assert (given.guide, given.guide_size) == ("resnet50", 224)
    assert (asked([]).guide, asked([]).guide_size) == ("test_resnet", 32)
