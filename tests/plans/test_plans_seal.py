"""Who reads the sealed test, in Snakemake's own graph, and what may follow from it; runs of other draws beside this one."""

from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from taxaforge.config.settings import Settings, load
from taxaforge.plan.collection import protocol
from taxaforge.plan.keys import MissingUserFile, Plan
from taxaforge.plan.rules import RULES

ROOT = Path(__file__).parents[2]
DEFAULT = yaml.safe_load((ROOT / "config/config.yaml").read_text())
PIXELS, LABELS = "results/collection/packs/test.npy", "results/collection/packs/test.json"
TARGETS = {"all", "collection"}
CHOOSING = {
    "train_classifier", "train_guide", "train_judge", "train_discriminator", "train_stage", "train_contour", "train_semantics",
    "allocate_images", "caption_images", "rate_prompts", "learn_tokens", "generate_shard", "gather_images", "encode_texts",
}  # fmt: skip
"""Rules that learn, draw or choose."""


@pytest.fixture(params=[
    pytest.param({}, id="default"),
    pytest.param({"collection": {"embedding": {"model": "test_resnet"}, "views": ["coco"]}, "filter": {"classifier": {"top_k": 1}, "semantics": {"top_k": 1}}, "guidance": {"methods": ["cfg", "sgid", "dig_zsl"], "allocation": {"by": "confused"}}, "classification": {"arms": ["real", "real+cfg", "random-drop+cfg"]}, "diffusion": {"backbone": "stable-diffusion", "variant": "joint"}}, id="filters, budget, latents, view"),
    pytest.param({"protocol": {"kind": "zero_shot"}, "guidance": {"methods": ["dig_zsl"]}, "classification": {"arms": ["real", "real+dig_zsl"]}}, id="zero_shot"),
    pytest.param({"protocol": {"kind": "long_tail", "draw": 2}, "guidance": {"methods": ["cfg"]}, "classification": {"arms": ["real", "real+cfg"]}}, id="long_tail"),
])  # fmt: skip
def graph(request, make_planner):
    """(rule -> paths that it reads, job -> jobs that it reads from)."""
    planner = make_planner()
    return planner.inputs(request.param), planner.edges(request.param)


def test_the_test_is_read_by_scoring_and_its_pixels_by_the_leak_audit(graph):
    inputs, _ = graph
    readers = {path: {rule for rule, paths in inputs.items() if path in paths} for path in (PIXELS, LABELS)}
    assert "score_classifier" in readers[PIXELS] <= {"score_classifier", "audit_leaks", *TARGETS}
    assert readers[LABELS] == {"score_classifier"}
    near = {path for paths in inputs.values() for path in paths if "test" in Path(path).name}
    assert near == {PIXELS, LABELS}, "no other file of the run is named after the test"


def test_nothing_that_learns_draws_or_chooses_follows_from_the_test(graph):
    """Whatever is made with the test, scores included, is the end of the way: no classifier stands on it."""
    _, edges = graph
    after, before = defaultdict(set), edges
    for job, own in edges.items():
        for one in own:
            after[one].add(job)

    def reached(starts, step):
        found, waiting = set(), list(starts)
        while waiting:
            for job in step.get(waiting.pop(), ()):
                if job not in found:
                    found.add(job)
                    waiting.append(job)
        return found

    test = ("pack_split", ("split", "test"))
    scoring = {job for job in edges if job[0] == "score_classifier"}
    assert test in edges and scoring <= after[test]
    follows = reached([test], after)
    assert not {rule for rule, *_ in follows} & CHOOSING
    assert not follows & (reached(scoring, before) - {test})


def merged(settings: dict, extra: dict) -> dict:
    found = dict(settings)
    for name, value in extra.items():
        found[name] = merged(found.get(name, {}), value) if isinstance(value, dict) else value
    return found


# ---------------------------------------------------------------- runs of other draws


@pytest.fixture
def other(tmp_path):
    """What is read of a finished run, made up; a function that makes one in a folder."""

    def make(name: str, settings: Settings, content: str = "x") -> str:
        folder = tmp_path / name / "results"
        paths = [folder / "collection/packs/train.json"]
        for arm in settings.arms:
            for seed in range(settings.classification.seeds):
                paths.append(folder / f"classifiers/{arm}/seed{seed}/predictions.parquet")
        paths += [folder / f"images/{method}/metadata.parquet" for method in settings.guidance.methods]
        paths += [folder / "evaluation/audits.csv"] * settings.audit.enabled
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return str(folder)

    return make


SMALL = {"guidance": {"methods": ["cfg"]}, "classification": {"arms": ["real", "real+cfg"], "seeds": 2}}


def test_runs_beside_enter_comparison_accuracy_and_verdict_and_nothing_else(make_planner, other):
    settings = load(merged(DEFAULT, SMALL))
    folders = [other(name, settings) for name in ("one", "two")]
    extra = merged(SMALL, {"evaluation": {"beside": folders}})
    inputs = make_planner().inputs(extra)
    foreign = {rule: {path for path in paths if path.startswith(tuple(folders))} for rule, paths in inputs.items()}
    assert {rule for rule, paths in foreign.items() if paths} == {
        "compare_arms",
        "summarise_accuracy",
        "decide_verdict",
    }
    assert foreign["decide_verdict"] == {
        f"{folder}/{path}" for folder in folders for path in ("evaluation/audits.csv", "images/cfg/metadata.parquet")
    }
    assert len(foreign["compare_arms"]) == 2 * (1 + 2 * 2) and foreign["compare_arms"] == foreign["summarise_accuracy"]


def test_a_key_follows_what_lies_beside_not_where(other):
    settings = load(merged(DEFAULT, SMALL))

    def keys(*folders):
        plan = Plan(load(merged(DEFAULT, merged(SMALL, {"evaluation": {"beside": list(folders)}}))), ROOT)
        return [
            plan.key_of(rule, {}) for rule in ("compare_arms", "decide_verdict", "summarise_accuracy", "measure_images")
        ]

    alone, one, moved = keys(), keys(other("one", settings)), keys(other("moved", settings))
    changed = keys(other("one", settings, "y"))
    assert one == moved and alone[3] == one[3] == changed[3]
    assert all(len({a[i], b[i], c[i]}) == 3 for i in (0, 1, 2) for a, b, c in [(alone, one, changed)])


@pytest.mark.parametrize("path", ["evaluation/audits.csv", "images/cfg/metadata.parquet"])
def test_the_verdict_follows_the_audits_and_images_of_the_runs_beside_and_misses_none(other, path):
    settings = load(merged(DEFAULT, SMALL))
    folder = other("one", settings)
    asked = load(merged(DEFAULT, merged(SMALL, {"evaluation": {"beside": [folder]}})))
    before = Plan(asked, ROOT).key_of("decide_verdict", {})
    Path(folder, path).write_text("z")
    assert Plan(asked, ROOT).key_of("decide_verdict", {}) != before
    Path(folder, path).unlink()
    with pytest.raises(MissingUserFile, match=r"evaluation.beside\[0\]"):
        Plan(asked, ROOT).check_files()


def test_without_audits_none_is_read_of_the_runs_beside(other):
    changed = merged(SMALL, {"audit": {"enabled": False}})
    folder = other("one", load(merged(DEFAULT, changed)))
    assert not Path(folder, "evaluation/audits.csv").exists()
    Plan(load(merged(DEFAULT, merged(changed, {"evaluation": {"beside": [folder]}}))), ROOT).check_files()


def test_a_run_beside_that_lacks_an_arm_is_named_before_anything_runs(other):
    settings = load(merged(DEFAULT, SMALL))
    folder = other("one", load(merged(DEFAULT, merged(SMALL, {"classification": {"arms": ["real"]}}))))
    plan = Plan(
        settings.model_copy(update={"evaluation": settings.evaluation.model_copy(update={"beside": [folder]})}), ROOT
    )
    with pytest.raises(MissingUserFile, match=r"evaluation.beside\[0\].real\+cfg/seed0: there is no file"):
        plan.check_files()


@pytest.mark.parametrize("kind, read", [
    ("few_shot", {"kind", "shots", "draw"}), ("full", {"kind"}),
    ("long_tail", {"kind", "shots", "draw", "imbalance", "order", "head"}),
    ("zero_shot", {"kind", "shots", "draw", "seen", "unseen", "unseen_share", "unseen_block", "trial_share"}),
])  # fmt: skip
def test_a_split_depends_on_what_its_protocol_reads(kind, read):
    assert (
        set(
            protocol(
                load(
                    {"protocol": {"kind": kind}, "guidance": {"methods": ["cfg"]}, "classification": {"arms": ["real"]}}
                )
            )
        )
        == read
    )


def test_another_draw_is_another_initialisation_and_noise_but_the_same_judge():
    """A run of another draw stands for an independent repetition; what it is measured with stays."""
    first, second, third = (load({"run": {"seed": 7}, "protocol": {"draw": draw}}) for draw in (0, 1, 2))
    learning = {"train_classifier": "run_seed", "train_stage": "seed", "generate_shard": "seed", "train_semantics": "seed",
                "train_guide": "seed", "train_discriminator": "seed", "learn_tokens": "seed"}  # fmt: skip
    wildcards = {"arm": "real", "stage": "base", "shard": "0"}
    for rule, name in learning.items():
        own = wildcards | {"method": "dig_zsl" if rule == "learn_tokens" else "cfg"}
        seeds = [RULES[rule](s, own).settings[name] for s in (first, second, third)]
        assert seeds[0] == 7 and len(set(seeds)) == 3, rule
    for rule in ("train_judge", "fetch_images", "curate_images"):
        assert RULES[rule](first, {}).settings == RULES[rule](second, {}).settings
