"""What arms try, and that none tries more than another."""

import pytest
from pydantic import ValidationError

from taxaforge.classification import arms, tuning
from taxaforge.config.classification import Classification, Mixing
from taxaforge.config.settings import Settings, load
from taxaforge.errors import TaxaforgeError
from taxaforge.plan.classification import train_classifier, train_judge

EVERY = [*arms.ALONE, *(f"{kind}+cfg" for kind in arms.PACKS)]


def settings(**classification):
    return load({"guidance": {"methods": ["cfg"]}, "classification": {"arms": EVERY, **classification}})


def handed(s: Settings, arm: str) -> dict:
    return train_classifier(s, {"arm": arm}).settings


@pytest.mark.parametrize("policy", ["add", "replace", "weight", "pretrain", "auto"])
def test_all_arms_have_as_many_trials_from_what_the_plan_hands_over(policy):
    s = settings(mixing={"policy": policy})
    plans = {arm: handed(s, arm).get("mixing", tuning.PLAIN) for arm in EVERY}
    tried = {arm: tuning.trials(arms.parse(arm), plans[arm]) for arm in EVERY}
    assert {len(trials) for trials in tried.values()} == {4 if policy == "auto" else 1}
    for arm, trials in tried.items():
        mixes = arm in ("real+cfg", "random-drop+cfg", "label-shuffled+cfg")
        assert all(bool(trial.policy) == mixes for trial in trials)
        assert len({(trial.policy, trial.number, trial.rate) for trial in trials}) == len(trials)
        if mixes and policy != "auto":
            assert trials == [tuning.Trial(policy, getattr(s.classification.mixing, tuning.NUMBERS[policy]))]


@pytest.mark.parametrize(
    "change, concerned",
    [
        pytest.param({"mixing": {"weight": 0.25}}, set(), id="a number of another policy"),
        pytest.param({"mixing": {"ratio": 2.0}}, {"real+cfg", "random-drop+cfg", "label-shuffled+cfg"}, id="ratio"),
        pytest.param({"strong": {"magnitude": 5}}, {"strong-augmentation"}, id="strength"),
        pytest.param({"augmentation": "none"}, set(EVERY), id="augmentation"),
        pytest.param({"mixing": {"policy": "auto"}}, set(EVERY), id="auto"),
    ],
)
def test_a_setting_reaches_exactly_the_arms_that_it_concerns(change, concerned):
    before, after = settings(), settings(**change)
    assert {arm for arm in EVERY if handed(before, arm) != handed(after, arm)} == concerned


def test_the_judge_mixes_nothing():
    plain, other = settings(), settings(mixing={"policy": "auto"}, strong={"magnitude": 3})
    assert train_judge(plain, {}).settings == train_judge(other, {}).settings
    assert train_judge(settings(augmentation="strong"), {}).settings["strong"]["magnitude"] == 9


@pytest.mark.parametrize(
    "text", ["add:0", "add:2.5", "replace:0", "replace:1", "weight:0.1", "weight:3", "pretrain:0.9"]
)
def test_a_mixing_reads_back_as_it_was_written(text):
    assert tuning.parse(text).words["mixing"] == text
    assert Mixing(candidates=[text]).candidates == [text]


@pytest.mark.parametrize(
    "text",
    ["add", "blend:1", "replace:1.1", "replace:-0.1", "weight:0", "pretrain:0", "pretrain:1", "add:nan", "add:-1", "add:inf", ":1"],
)  # fmt: skip
def test_what_is_no_mixing_is_refused_by_the_settings_and_by_the_job(text):
    with pytest.raises(TaxaforgeError, match="is no mixing"):
        tuning.parse(text)
    with pytest.raises(ValidationError, match="is no mixing"):
        Mixing(candidates=[text])


@pytest.mark.parametrize(
    "mixing, says",
    [
        ({"policy": "auto", "candidates": ["add:0"]}, "as many of the one as of the other"),
        ({"candidates": ["add:0", "add:0"]}, "must not repeat"),
        ({"learning_rate_factors": [1.0, 0.0]}, "above 0"),
        ({"probability": 1.5}, "less than or equal to 1"),
    ],
)
def test_settings_that_would_tune_unequally_are_refused(mixing, says):
    with pytest.raises(ValidationError, match=says):
        Classification(mixing=mixing)


def test_the_summary_has_a_line_a_trial():
    def line(trial, step, accuracy, best, chosen=False):
        about = {"mixing": "add:0", "rate_factor": 1.0, "validation_nll": 1.0}
        return about | {
            "trial": trial, "step": step, "validation_accuracy": accuracy, "best": best, "chosen": chosen,
        }  # fmt: skip

    history = [line(1, 5, 0.5, True), line(1, 10, 0.4, False), line(2, 5, 0.3, True), line(2, 10, 0.6, True, True)]
    found = [
        (x["trial"], x["steps"], x["best_step"], x["validation_accuracy"], x["chosen"]) for x in tuning.summary(history)
    ]
    assert found == [(1, 10, 5, 0.5, False), (2, 10, 10, 0.6, True)]
