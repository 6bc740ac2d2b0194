"""Adapters with a fake `snakemake`: they unpack, call one function, and treat errors as promised."""

import fcntl
import inspect
import json
import os
import re
import runpy
import sys
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import pytest
from snakemake.iocontainers import Namedlist

from taxaforge.adapter import _slots, job
from taxaforge.config.settings import load
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_lines
from taxaforge.lineage import plain
from taxaforge.plan.rules import RULES

ROOT = Path(__file__).parents[1]


class FakeSnakemake:
    """What Snakemake hands to a script, for a job of `rule` in the working directory."""

    def __init__(self, rule="try_out", threads=1, wildcards=None, params=None, **files):
        self.rule, self.threads = rule, threads
        self.wildcards = Namedlist(fromdict=wildcards or {})
        self.params = Namedlist(fromdict={"key": "0123456789ab", "cfg": {}, **(params or {})})
        self.input = Namedlist(fromdict=files.get("input", {}))
        self.output = Namedlist(fromdict=files.get("output", {}))
        self.log = Namedlist([f"results/logs/{rule}/job.log"])
        self.resources = Namedlist(fromdict={"gpu": 0, "tmpdir": "tmp"})


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(
        "TAXAFORGE_RUNTIME", json.dumps({"device": "cpu", "micro_batch": 8, "tracking_uri": "sqlite:///a.db"})
    )
    monkeypatch.setenv("TAXAFORGE_NETWORK", json.dumps(load({}).network.model_dump()))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def records(workdir) -> list[dict]:
    return [json.loads(path.read_text()) for path in workdir.glob("results/state/spool/*/record.json")]


def test_a_jobs_output_lands_in_its_log_and_its_metrics_in_its_record(workdir):
    fake = FakeSnakemake(wildcards={"stage": "genus"}, input={"train": "a.npy"}, output={"model": "m"})
    with job(fake) as run:
        print("hello from the job")
        run.log(5, {"loss": 0.5})
    assert "hello from the job" in (workdir / "results/logs/try_out/job.log").read_text()
    (record,) = records(workdir)
    assert (record["status"], record["rule"], record["wildcards"]) == ("finished", "try_out", {"stage": "genus"})
    assert record["inputs"] == {"train": "a.npy"} and record["outputs"] == {"model": "m"}
    (events,) = workdir.glob("results/state/spool/*/events.jsonl")
    assert read_lines(events)[0]["values"] == {"loss": 0.5}


def test_a_users_error_is_one_sentence_and_status_1(workdir, capfd):
    with pytest.raises(SystemExit) as end, job(FakeSnakemake()):
        raise TaxaforgeError("Aglais io has 3 images. Lower protocol.shots to 3.")
    assert end.value.code == 1
    log = (workdir / "results/logs/try_out/job.log").read_text()
    assert "Lower protocol.shots to 3." in log and "Traceback" not in log
    assert capfd.readouterr().err == "try_out: Aglais io has 3 images. Lower protocol.shots to 3.\n"
    assert records(workdir)[0]["status"] == "failed"


def test_an_error_with_an_exit_code_of_its_own_ends_the_job_with_it(workdir):
    class Saved(TaxaforgeError):
        exit_code = 75

    with pytest.raises(SystemExit) as end, job(FakeSnakemake()):
        raise Saved("The stage is saved at step 40. Run again to go on from there.")
    assert end.value.code == 75
    (record,) = records(workdir)
    assert (record["status"], record["error"]) == (
        "stopped",
        "The stage is saved at step 40. Run again to go on from there.",
    )


def test_a_picture_goes_into_the_record_while_the_job_runs(workdir):
    (workdir / "grid.png").write_bytes(b"x")
    with job(FakeSnakemake()) as run:
        run.show("samples/step-000500.png", "grid.png")
        (folder,) = workdir.glob("results/state/spool/*/")
        assert (folder / "artifacts/samples/step-000500.png").read_bytes() == b"x"
        assert read_lines(folder / "events.jsonl")[0]["artifact"] == "samples/step-000500.png"


@pytest.mark.parametrize("wanted, value", [(True, "1"), (False, None)])
def test_offline_is_said_to_the_hub_libraries_before_the_block_imports_them(workdir, monkeypatch, wanted, value):
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "")  # restored after the test
        monkeypatch.delenv(name)
    monkeypatch.setenv("TAXAFORGE_RUNTIME", json.dumps({"device": "cpu", "hub_offline": wanted}))
    with job(FakeSnakemake()):
        assert os.environ.get("HF_HUB_OFFLINE") == os.environ.get("TRANSFORMERS_OFFLINE") == value


def test_a_programmers_error_keeps_its_traceback_in_the_log(workdir):
    with pytest.raises(ZeroDivisionError), job(FakeSnakemake()):
        1 / 0  # noqa: B018
    assert "Traceback" in (workdir / "results/logs/try_out/job.log").read_text()
    assert "ZeroDivisionError" in records(workdir)[0]["error"]


def test_state_of_a_job_belongs_to_its_key_and_wildcards(workdir):
    with job(FakeSnakemake(rule="train_stage", wildcards={"stage": "genus"})) as run:
        assert run.state_dir == Path("results/state/train_stage/0123456789ab-genus")


def test_a_job_forgets_its_own_earlier_states_and_no_others(workdir):
    own = ["0123456789ab-real", "fedcba987654-real"]
    others = ["fedcba987654-not-real", "fedcba987654-real-equal-steps", "fedcba987654-real+cfg"]
    with job(FakeSnakemake(rule="train_classifier", wildcards={"arm": "real"})) as run:
        for name in own + others:
            (run.state_dir.parent / name).mkdir(parents=True)
        run.forget_earlier()
    left = {path.name for path in Path("results/state/train_classifier").iterdir()}
    assert left == {own[0], *others}


def test_asking_for_a_gpu_that_is_not_there_says_so(workdir, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("TAXAFORGE_RUNTIME", json.dumps({"device": "cuda"}))
    with pytest.raises(SystemExit), job(FakeSnakemake()):
        pass
    assert "no GPU is visible" in (workdir / "results/logs/try_out/job.log").read_text()


def test_parallel_jobs_never_hold_the_same_gpu(workdir, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("TAXAFORGE_RUNTIME", json.dumps({"device": "auto"}))
    first, second = FakeSnakemake(rule="one"), FakeSnakemake(rule="two")
    first.resources = second.resources = Namedlist(fromdict={"gpu": 1})
    with job(first):
        held = os.environ["CUDA_VISIBLE_DEVICES"]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")  # what a second process would see
        with job(second):
            assert {held, os.environ["CUDA_VISIBLE_DEVICES"]} == {"4", "7"}


@pytest.mark.parametrize("runtime, gpus, slurm, processes, visible", [
    pytest.param({"device": "cpu"}, 0, False, 1, "4,7,9", id="one process where nothing is said"),
    pytest.param({"device": "cpu", "processes": 3}, 0, False, 3, "4,7,9", id="on the CPU as many as the settings say"),
    pytest.param({"device": "cpu", "processes": 3}, 2, False, 3, "4,7,9", id="on the CPU no GPU counts"),
    pytest.param({"device": "auto", "processes": 3}, 0, False, 1, "4,7,9", id="a GPU that was not asked for is one"),
    pytest.param({"device": "auto", "processes": 3}, 1, False, 1, "4", id="one GPU, one process"),
    pytest.param({"device": "auto", "processes": 3}, 2, False, 2, "4,7", id="one process a GPU"),
    pytest.param({"device": "auto"}, 2, True, 2, "4,7,9", id="Slurm hands out the devices"),
])  # fmt: skip
def test_a_job_divides_its_work_among_the_devices_it_holds(
    workdir, monkeypatch, runtime, gpus, slurm, processes, visible
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7,9")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    if not slurm:
        monkeypatch.delenv("SLURM_JOB_ID")
    monkeypatch.setenv("TAXAFORGE_RUNTIME", json.dumps(runtime))
    fake = FakeSnakemake()
    fake.resources = Namedlist(fromdict={"gpu": gpus})
    with job(fake) as run:
        assert run.processes == processes and os.environ["CUDA_VISIBLE_DEVICES"] == visible
        assert run.device == ("cpu" if runtime["device"] == "cpu" else "cuda")


def test_a_job_leaves_the_energy_of_the_gpus_it_held_beside_its_benchmark(workdir, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("TAXAFORGE_RUNTIME", json.dumps({"device": "auto"}))
    counter = iter((100.0, 130.5, 200.0, 200.0))
    monkeypatch.setattr("taxaforge.adapter.joules", lambda gpus: next(counter) if gpus == ["4"] else None)
    fake = FakeSnakemake(rule="train_stage", wildcards={"stage": "genus"})
    left = workdir / "results/benchmarks/train_stage/genus.energy.json"
    with job(fake):  # holds none
        pass
    assert not left.exists()
    fake.resources = Namedlist(fromdict={"gpu": 1})
    with job(fake):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    assert json.loads(left.read_text()) == {"joules": 30.5}
    left.unlink()
    with pytest.raises(SystemExit), job(fake):
        raise TaxaforgeError("no luck")
    assert not left.exists()


def test_a_job_takes_all_its_gpus_at_once_and_waits_while_too_few_are_free(workdir, monkeypatch):
    waits = []

    def wait(seconds):
        assert held(workdir) == {"4", "7"}  # the free one is not kept while the others are missing
        waits.append(seconds)
        first.close()

    monkeypatch.setattr("taxaforge.adapter.time.sleep", wait)
    first = ExitStack()
    assert first.enter_context(_slots(["4", "7", "9"], 2)) == ["4", "7"]
    with _slots(["4", "7", "9"], 2) as second:
        assert second == ["4", "7"] and len(waits) == 1
        assert held(workdir) == {"4", "7"}
    assert held(workdir) == set()


def held(workdir) -> set[str]:
    """GPUs whose lock another process could not take."""
    found = set()
    for path in workdir.glob("results/state/gpu/[0-9]*.lock"):
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found.add(path.stem)
    return found


ADAPTERS = sorted((ROOT / "scripts").glob("*.py"))


def test_every_rule_has_its_adapter_and_every_adapter_its_rule():
    assert {path.stem for path in ADAPTERS} == set(RULES)


@pytest.mark.parametrize("path", ADAPTERS, ids=lambda path: path.stem)
def test_an_adapter_is_short_and_names_a_function_that_exists(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 25
    module, name = text.splitlines()[0].strip('"').split(" -> ")[1].rsplit(".", 1)
    assert callable(getattr(import_module(module), name))
    assert f"rule {path.stem} " in text.splitlines()[0]


WILDCARDS = {
    "split": "train",
    "stage": "genus",
    "method": "cfg",
    "shard": "1",
    "arm": "real+cfg",
    "seed": "2",
    "view": "coco",
}
OWNERS = {"caption_images": "sgid", "rate_prompts": "sgid", "learn_tokens": "dig_zsl"}
"""Rules of one kind of method only."""


@pytest.mark.parametrize("path", ADAPTERS, ids=lambda path: path.stem)
def test_an_adapter_calls_its_function_with_arguments_it_takes(path, workdir, monkeypatch):
    """Runs the real adapter on a fake job, with the function replaced by one that only checks its arguments."""
    module, name = path.read_text().splitlines()[0].strip('"').split(" -> ")[1].rsplit(".", 1)
    function, calls = getattr(import_module(module), name), []

    def stand_in(*args, **kwargs):
        inspect.signature(function).bind(*args, **kwargs)
        calls.append(kwargs)

    monkeypatch.setattr(sys.modules[module], name, stand_in)
    wildcards = {**WILDCARDS, "method": OWNERS.get(path.stem, "cfg")}
    cfg = plain(RULES[path.stem](load({}), wildcards).settings)
    runpy.run_path(str(path), init_globals={"snakemake": fake_job(path.stem, cfg)})
    assert len(calls) == 1


def test_the_verdict_gets_the_images_of_every_run_by_their_method(workdir, monkeypatch):
    got, cfg = {}, plain(RULES["decide_verdict"](load({}), {}).settings)
    monkeypatch.setattr("taxaforge.evaluation.verdict.decide", lambda **given: got.update(given))
    fake = fake_job("decide_verdict", cfg)
    runpy.run_path(str(ROOT / "scripts/decide_verdict.py"), init_globals={"snakemake": fake})
    for method in cfg["methods"]:
        assert got["synthetic_beside"][method] == [f"a-{method}.x", f"b-{method}.x"]


def declared(rule: str, directive: str) -> list[str]:
    """Names under a directive of a rule, from the text of the rules."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    block = re.search(rf"^rule {rule}:.*?^    {directive}:\n(.*?)^    \w", text, re.M | re.S).group(1)
    return re.findall(r"^        (\w+)=", block, re.M)


def fake_job(rule: str, cfg: dict) -> FakeSnakemake:
    """A job with every named file that any rule declares; adapters take what is theirs."""
    one = {
        name: f"{name}.x"
        for name in ["taxa", "snapshot", "classes", "candidates", "images", "metadata", "splits", "train", "index", "texts", "names", "model", "init", "validation", "real", "reserve", "test", "judge", "table", "comparisons", "accuracy", "verdict", "cost", "secondary", "efficiency", "power", "next_run", "figures", "review", "rejections", "ledger", "leakage", "semantics", "duplicates", "features", "origin", "archive", "overrides", "pack", "train_latents", "validation_latents", "allocation", "captions", "discriminator", "guide", "roles"]
    }  # fmt: skip
    many = {name: [f"{name}0.x", f"{name}1.x"] for name in ("shards", "kept", "predictions", "synthetic", "stages")}
    out = {name: f"out_{name}.x" for name in declared(rule, "output")}
    params = {
        "cfg": cfg, "folder": "photos", "methods": ["cfg", "taxadiffusion"], "stages": ["base", "order"], "jobs": [], "seeds": ["0", "1"], "weighted": [],
        "arm_seeds": [{"arm": "real", "seed": "0"}, {"arm": "real", "seed": "1"}],
    }  # fmt: skip
    many["weights"] = []
    if rule in ("score_classifier", "predict_validation"):
        many["model"] = [one.pop("model"), "model1.x"]
    if rule == "describe_collection":
        one, many = {name: f"{name}.x" for name in declared(rule, "input")}, {}
    if rule == "score_zero_shot":
        many["validation"] = [one.pop("validation"), "validation1.x"]
    if rule in ("audit_copies", "audit_leaks", "conclude_audits"):
        many = {name: [f"{method}.x" for method in cfg["methods"]] for name in ("kept", "metadata")}
        many |= {"held_out": ["validation.x", "reserve.x"], "captions": ["sgid.x"] * len(cfg.get("captioned", ()))}
        one = {name: path for name, path in one.items() if name not in many} | {"leaks": "l.x", "memorisation": "m.x"}
    if rule in ("decide_verdict", "weigh_gains"):
        del one["metadata"]
        many["metadata"] = [f"{method}.x" for method in cfg["methods"]]
        many["histories"] = [f"{arm}.x" for arm in cfg["arms"]]
        many["metadata_beside"] = [f"{run}-{method}.x" for run in "ab" for method in cfg["methods"]]
    if rule == "write_report":
        keep = [
            "figures",
            "taxa",
            "review",
            "rejections",
            "ledger",
            "splits",
            "images",
            "accuracy",
            "comparisons",
            "verdict",
            "secondary",
            "cost",
            "efficiency",
            "power",
            "next_run",
        ]
        one, many = {name: one[name] for name in keep}, {}
    return FakeSnakemake(rule, wildcards=WILDCARDS, params=params, input={**one, **many}, output=out)
