"""The sealed test split: who can open it, what is on record about it, and that no code but scoring asks for it."""

import ast
import json
import multiprocessing
import re
from pathlib import Path

import numpy as np
import pytest

from taxaforge.evaluation.seal import models, record_opening, summary
from taxaforge.files import read_json, read_lines
from taxaforge.packs import OPENERS, Pack, Sealed

ROOT = Path(__file__).parents[2]
SPECIES = ["Aa bb", "Cc dd"]


@pytest.fixture
def packs(tmp_path):
    """The same images as a sealed test and as validation."""
    pack = Pack(
        pixels=np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3), classes=SPECIES,
        identifier=[f"t{i}" for i in range(4)], label=np.array([0, 1, 1, 0]), group=["g", "g", "h", "h"], caption=[""] * 4,
    )  # fmt: skip
    pack.save(tmp_path / "test.npy", sealed=True)
    pack.save(tmp_path / "validation.npy")
    return tmp_path


# ---------------------------------------------------------------- opening it


def test_a_sealed_pack_opens_for_scoring_and_is_what_was_packed(packs):
    opened, plain = Pack.load(packs / "test.npy", opened_by="score_classifier"), Pack.load(packs / "validation.npy")
    assert (opened.identifier, opened.group, opened.classes) == (plain.identifier, plain.group, plain.classes)
    assert np.array_equal(opened.label, plain.label) and np.array_equal(opened.pixels, plain.pixels)


@pytest.mark.parametrize("who", ["", "train_classifier", "gather_images", "train_guide"])
def test_nobody_else_can_load_it(packs, who):
    with pytest.raises(Sealed, match=f"only score_classifier may open it.*{who}.*validation"):
        Pack.load(packs / "test.npy", opened_by=who)
    Pack.load(packs / "validation.npy", opened_by=who)


def test_its_labels_are_not_where_labels_are_looked_for(packs):
    table = read_json(packs / "test.json")
    assert table["classes"] == SPECIES
    for column in ("label", "identifier", "group", "caption"):
        with pytest.raises(KeyError):
            table[column]


@pytest.mark.parametrize(
    "function", ["train", "train_judge", "train_guide", "predict_validation", "train_semantics", "encode"]
)
def test_a_job_that_is_handed_the_sealed_pack_stops(packs, tmp_path, function):
    """Whoever wires the test pack to a rule that learns or chooses gets no result, but a sentence."""
    from taxaforge.classification import model
    from taxaforge.classification.guide import train_guide
    from taxaforge.classification.judge import train_judge
    from taxaforge.classification.train import train
    from taxaforge.diffusion.latents import encode
    from taxaforge.evaluation.validation import predict_validation
    from taxaforge.semantics.train import train as train_semantics

    test, out, classes = packs / "test.npy", tmp_path / "out", tmp_path / "classes.json"
    classes.write_text(json.dumps([{"species": name} for name in SPECIES]))
    model.save(model.create("test_resnet", SPECIES, 16), tmp_path / "m.safetensors")
    real = {"real": test, "validation": test, "synthetic": [], "arm": "real", "budget": None}
    calls = {
        "train": lambda: train(**real, cfg={}, seed=0, out=out, out_history=out),
        "train_judge": lambda: train_judge(reserve=test, cfg={}, seed=0, out=out, out_summary=out),
        "train_guide": lambda: train_guide(
            train=test, validation=test, cfg={}, seed=0, out=out, out_summary=out, device="cpu"
        ),
        "predict_validation": lambda: predict_validation(model=tmp_path / "m.safetensors", validation=test, out=out),
        "train_semantics": lambda: train_semantics(
            pack=test, classes=classes, cfg={"source": "trained"}, seed=0, out=out
        ),
        "encode": lambda: encode(pack=test, pretrained="", revision="", size=32, flip=False, out=out),
    }
    with pytest.raises(Sealed):
        calls[function]()
    assert not out.exists()


# ---------------------------------------------------------------- the ledger


def opening(arm="real", seed="0", model="m1", test="t1"):
    return {"arm": arm, "seed": seed, "model": model, "test": test}


def test_each_classifier_is_on_record_once_and_a_second_one_under_its_name_is_counted(tmp_path):
    ledger = tmp_path / "state" / "ledger.jsonl"
    asked = [
        (opening(), 1), (opening(), 1), (opening(seed="1"), 1), (opening(model="m2"), 2), (opening(), 2),
        (opening(model="m2"), 2), (opening(test="t2"), 1), (opening(arm="real+cfg"), 1), (opening(model="m3"), 3),
    ]  # fmt: skip
    assert [record_opening(ledger, one) for one, _ in asked] == [count for _, count in asked]
    assert len(read_lines(ledger)) == 6
    assert models(ledger)["real", "0", "t1"] == ["m1", "m2", "m3"]


def test_the_report_says_which_questions_were_put_twice(tmp_path):
    ledger = tmp_path / "ledger.jsonl"
    assert "0 openings for 0 questions" in summary(ledger)
    for arm in ("real", "real+cfg"):
        for seed in "01":
            record_opening(ledger, opening(arm, seed))
    assert summary(ledger) == "4 openings for 4 questions (arm, seed and test set), each put to one classifier"
    record_opening(ledger, opening("real+cfg", "1", "m2"))
    assert summary(ledger).startswith("5 openings for 4 questions")
    assert summary(ledger).endswith("1 put to more than one classifier: real+cfg")


def record_many(ledger, arm):
    for seed in range(50):
        record_opening(ledger, opening(arm, str(seed)))


def test_jobs_that_score_at_the_same_time_do_not_mix_their_lines(tmp_path):
    ledger, context = tmp_path / "ledger.jsonl", multiprocessing.get_context("fork")
    jobs = [context.Process(target=record_many, args=(ledger, f"arm{i}")) for i in range(4)]
    for one in jobs:
        one.start()
    for one in jobs:
        one.join()
    assert len(read_lines(ledger)) == len(ledger.read_text().splitlines()) == 200 and len(models(ledger)) == 200


def test_the_page_shows_the_ledger():
    text = (ROOT / "scripts/write_report.py").read_text()
    assert 'summary("results/state/test_openings.jsonl")' in text
    assert 'ledger="results/state/test_openings.jsonl"' in (ROOT / "scripts/score_classifier.py").read_text()


# ---------------------------------------------------------------- the code


def files():
    return [*(ROOT / "src/taxaforge").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]


def test_only_scoring_asks_for_a_sealed_pack():
    """The permission is a word, so it can be looked for: one call has it, in the module that scores."""
    found = {}
    for path in files():
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        given = [word for call in calls for word in call.keywords if word.arg == "opened_by"]
        if given:
            found[path.name] = [word.value.value for word in given]
    assert found == {"score.py": ["score_classifier"]} and frozenset({"score_classifier"}) == OPENERS


def test_no_code_looks_under_the_seal_or_names_the_test_pack():
    for path in files():
        text = path.read_text("utf-8")
        if path.name != "packs.py":
            assert '"sealed"]' not in text and "'sealed']" not in text, path
        strings = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
        paths = [text for text in strings if isinstance(text, str) and re.search(r"packs/test\b", text)]
        assert not [text for text in paths if "Remake" not in text], path
