"""The configuration: documents in step, and one readable message for every mistake."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from taxaforge.config.base import RANKS
from taxaforge.config.settings import Settings, load
from taxaforge.documents import documents

ROOT = Path(__file__).parents[2]


def test_generated_documents_are_in_step_with_the_models():
    stale = [path.name for path, text in documents().items() if not path.is_file() or path.read_text("utf-8") != text]
    assert not stale, f"run python -m taxaforge.documents: {stale}"


def test_the_default_yaml_means_what_the_models_say():
    assert load(yaml.safe_load((ROOT / "config/config.default.yaml").read_text())) == Settings()


def test_the_file_that_users_edit_is_valid_and_so_is_every_preset():
    base = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    load(base)
    for preset in (ROOT / "config/presets").glob("*.yaml"):
        load(merged(base, yaml.safe_load(preset.read_text())))


def merged(base: dict, over: dict) -> dict:
    """As Snakemake merges a --configfile: sections deeply, lists replaced."""
    return {
        **base,
        **{key: merged(base.get(key, {}), value) if isinstance(value, dict) else value for key, value in over.items()},
    }


def test_every_setting_says_what_it_does():
    def silent(model, prefix=""):
        for name, field in model.model_fields.items():
            kind = field.annotation
            if hasattr(kind, "model_fields"):
                yield from silent(kind, f"{prefix}{name}.")
            elif not field.description:
                yield prefix + name

    assert list(silent(Settings)) == []


@pytest.mark.parametrize("config, says", [
    pytest.param({"gudance": {}}, ["gudance: unknown key, did you mean 'guidance'?"], id="section misspelt"),
    pytest.param({"diffusion": {"step": 3}}, ["diffusion.step: unknown key, did you mean 'steps'?"], id="key misspelt"),
    pytest.param(
        {"diffusion": {"stages": {"genus": {"lr": 1}}}}, ["diffusion.stages.genus.lr: unknown key", "learning_rate"],
        id="key inside a named collection",
    ),
    pytest.param(
        {"diffusion": {"stages": {"genus": {"learning_rate": -1}}}}, ["greater than 0", "(got -1)"], id="value out of range"
    ),
    pytest.param({"run": {"seed": "zero"}}, ["run.seed", "integer", "(got 'zero')"], id="wrong type"),
    pytest.param({"diffusion": {"stages": {"tribe": {}}}}, ["'tribe' is no stage", "order, family"], id="stage of no level"),
    pytest.param({"diffusion": {"levels": ["tribe", "species"]}}, ["tribe is no level", "kingdom"], id="level of no rank"),
    pytest.param({"diffusion": {"levels": ["species", "genus"]}}, ["coarse to fine"], id="levels upside down"),
    pytest.param({"guidance": {"methods": ["magic"]}}, ["'magic' is no method", "cfg, taxadiffusion"], id="unknown method"),
    pytest.param(
        {"guidance": {"methods": ["cfg"]}, "classification": {"arms": ["real+taxadiffusion"]}},
        ["'real+taxadiffusion' needs images that no method draws", "remove the arm"],
        id="arm without its method",
    ),
    pytest.param(
        {"protocol": {"shots": 500}}, ["protocol.shots (500)", "images_per_species is", "Lower protocol.shots to at most"],
        id="more shots than a species has",
    ),
    pytest.param({"collection": {"source": "folder"}}, ["collection.folder.path"], id="folder without a folder"),
    pytest.param({"diffusion": {"levels": ["species"]}}, ["'taxadiffusion' guides", "Add a coarser level"], id="nothing coarser"),
    pytest.param({"diffusion": {"variant": "flat"}}, ["'taxadiffusion' guides", "uses species."], id="flat has no coarser"),
    pytest.param({"diffusion": {"variant": "joint", "stages": {"genus": {}}}}, ["'genus' is no stage", "joint"], id="one stage"),
    pytest.param({"diffusion": {"base": {"steps": 0}}}, ["'order' starts from a random denoiser", "full"], id="nothing drawn"),
    pytest.param({"diffusion": {"watch": {"validate_every": 0, "patience": 2}}}, ["patience needs"], id="blind patience"),
    pytest.param({"diffusion": {"null_probability": 0}}, ["'cfg' needs a trained null", "Raise it"], id="cfg without null"),
    pytest.param({"diffusion": {"channels": [8] * 6}}, ["must be divisible by 64", "fewer channels"], id="too many channels"),
    pytest.param({"classification": {"arms": ["fake"]}}, ["'fake' is no arm", "real+<method>"], id="no arm"),
    pytest.param({"collection": {"size": 33}}, ["multiple of 32", "(got 33)"], id="size that cannot be halved"),
    pytest.param(
        {"guidance": {"recipes": {"late": {"kind": "cfg", "interval": [0.8, 0.2]}}}},
        ["guidance.recipes.late.cfg.interval", "0 <= first < last <= 1"],
        id="interval backwards",
    ),
    pytest.param({"guidance": {"cfg": {"scale": 2}}}, ["'cfg' has moved", "guidance.recipes.cfg"], id="moved"),
    pytest.param({"guidance": {"recipes": {"x": {"kind": "higf"}}}}, ["guidance.recipes.x", "one of none, cfg"], id="no kind"),
    pytest.param({"guidance": {"recipes": {"x": {"scale": 2}}}}, ["guidance.recipes.x", "kind says"], id="kind missing"),
    pytest.param(
        {"guidance": {"recipes": {"x": {"kind": "higfa", "splt": 0.5}}}}, ["did you mean 'split'?"], id="mistyped setting"
    ),
    pytest.param({"guidance": {"methods": ["cgf"]}}, ["'cgf' is no method", "guidance.recipes"], id="unknown method"),
    pytest.param({"guidance": {"methods": ["a/b"]}}, ["'a/b' cannot name a method"], id="name that is no file name"),
    pytest.param(
        {
            "guidance": {"methods": ["t"], "recipes": {"t": {"kind": "taxadiffusion", "weak": "species"}}},
            "classification": {"arms": ["real"]},
        },
        ["'t' guides 'species'", "correct guidance.recipes.t"],
        id="level that is not coarser",
    ),
    pytest.param(
        {"guidance": {"recipes": {"s": {"kind": "sgid", "least_scale": 5}}}},
        ["least_scale (5) must not exceed most_scale (4)"],
        id="scales that fall",
    ),
    pytest.param({"guidance": {"allocation": {"least": 99}}}, ["allocation.least (99)"], id="more than there are"),
    pytest.param(
        {
            "protocol": {"kind": "zero_shot"}, "guidance": {"methods": ["cfg"]},
            "classification": {"arms": ["real+cfg"], "mixing": {"policy": "replace"}},
        },
        ["mixing.policy 'replace'", "would never be shown", "Choose another policy"], id="unseen species replace nothing",
    ),
    pytest.param(
        {
            "protocol": {"kind": "zero_shot"}, "guidance": {"methods": ["cfg"]},
            "classification": {"arms": ["real+cfg"], "mixing": {"policy": "auto"}},
        },
        ["mixing.candidates: replace:0.3", "learning_rate_factors"], id="nor where validation is to choose",
    ),
    pytest.param(
        {"protocol": {"kind": "zero_shot"}, "classification": {"arms": ["real"]}},
        ["'higfa' (higfa) starts from real images", "zero_shot"],
        id="unseen species have no images",
    ),
    pytest.param({"filter": {"method": "semantics"}}, ["semantics.top_k"], id="filter of earlier versions"),
])  # fmt: skip
def test_a_mistake_is_named_with_its_value_and_the_remedy(config, says):
    with pytest.raises(ValueError) as error:
        load(config)
    assert str(error.value).startswith("The configuration is not valid:")
    for words in says:
        assert words in str(error.value)


def test_all_mistakes_are_named_at_once():
    with pytest.raises(ValueError) as error:
        load({"run": {"seed": -1}, "filter": {"topk": 2}, "guidance": {"steps": 0}})
    assert len(str(error.value).splitlines()) == 4


def test_snakemake_prints_the_message_and_no_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--snakefile", ROOT / "Snakefile", "--directory", tmp_path,
         "--config", "protocol={shots: 500}", "diffusion={stages: {tribe: {}}}"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert "'tribe' is no stage" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout


def test_levels_are_darwin_core_ranks():
    assert RANKS == ("kingdom", "phylum", "class", "order", "family", "genus", "species")


@pytest.mark.parametrize(
    "arms, methods, wanted",
    [
        pytest.param(["real", "real+*"], ["cfg", "none"], ["real", "real+cfg", "real+none"], id="every method"),
        pytest.param(["real+none", "real+*"], ["cfg", "none"], ["real+none", "real+cfg"], id="once each"),
        pytest.param(["real", "label-shuffled+*"], [], ["real"], id="no method"),
    ],
)
def test_a_star_stands_for_every_method(arms, methods, wanted):
    assert load({"classification": {"arms": arms}, "guidance": {"methods": methods}}).arms == wanted


@pytest.mark.parametrize("arm", ["*", "real+c*", "*+cfg"])
def test_a_star_stands_for_nothing_else(arm):
    with pytest.raises(ValueError, match="is no arm"):
        load({"classification": {"arms": [arm]}})
