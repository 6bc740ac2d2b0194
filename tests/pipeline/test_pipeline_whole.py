"""The whole way, once, at the smallest size: every rule runs, files are what others rely on, a second run is idle."""

import csv
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from taxaforge import tables
from taxaforge.collection.schema import METADATA, SPLITS
from taxaforge.evaluation.schema import ACCURACY, COMPARISONS, COST, IMAGES, PREDICTIONS, VERDICT
from taxaforge.evaluation.zero_shot import ZERO_SHOT
from taxaforge.files import read_json, read_lines
from taxaforge.guidance.schema import IMAGES as SYNTHETIC
from taxaforge.packs import Pack
from taxaforge.taxonomy.schema import TAXA

ROOT = Path(__file__).parents[2]
METHODS = ["cfg", "taxadiffusion", "higfa", "dig_zsl", "sgid"]
ARMS = ["real", "real-equal-steps", *(f"real+{method}" for method in METHODS)]


def snakemake(workdir: Path, *arguments: str, call=subprocess.run, **more):
    """The tiny preset in a working directory; `call` may be subprocess.Popen."""
    command = [
        Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile", "--directory", workdir,
        "--workflow-profile", ROOT / "profiles/ci", "--configfile", ROOT / "config/presets/tiny.yaml", *arguments,
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TAXAFORGE_INVOCATION")}
    more = more or {"capture_output": True}
    return call(list(map(str, command)), text=True, env=environment, cwd=workdir, **more)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A working directory in which the tiny preset ran from names to verdict."""
    workdir = tmp_path_factory.mktemp("whole")
    done = snakemake(workdir)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return workdir


def test_every_table_keeps_its_contract(run):
    taxa = tables.read(TAXA, run / "results/taxonomy/taxa.parquet")
    assert len(taxa) == 12 and {row["label"] for row in taxa} == {True}
    metadata = tables.read(METADATA, run / "results/collection/metadata.parquet")
    splits = tables.read(SPLITS, run / "results/collection/splits.parquet")
    assert {row["identifier"] for row in splits} == {row["identifier"] for row in metadata}
    for schema, name in [(IMAGES, "images"), (ACCURACY, "accuracy"), (COMPARISONS, "comparisons"), (COST, "cost")]:
        assert tables.read(schema, run / f"results/evaluation/{name}.csv")
    verdict = tables.read(VERDICT, run / "results/evaluation/verdict.csv")
    assert {row["method"] for row in verdict if row["scope"] == "all"} == set(METHODS)
    assert {row["verdict"] for row in verdict} <= {"adopt", "inconclusive", "do not use"}


def test_every_image_of_every_method_is_on_disk_with_its_seed(run):
    seeds = {}
    for method in METHODS:
        folder = run / "results/images" / method
        rows = tables.read(SYNTHETIC, folder / "metadata.parquet")
        assert len(rows) == 12 * 4
        assert all((folder / row["file_name"]).is_file() for row in rows)
        seeds[method] = sorted(row["seed"] for row in rows)
    assert all(seeds[method] == seeds["cfg"] for method in METHODS), "compared methods start from the same noise"


def sealed(run: Path) -> Pack:
    """The test images, as scoring sees them."""
    return Pack.load(run / "results/collection/packs/test.npy", opened_by="score_classifier")


def test_every_test_image_is_predicted_once_by_every_classifier(run):
    test = set(sealed(run).identifier)
    for arm in ARMS:
        for seed in (0, 1):
            folder = run / f"results/classifiers/{arm}/seed{seed}"
            rows = tables.read(PREDICTIONS, folder / "predictions.parquet")
            assert {row["identifier"] for row in rows} == test and len(rows) == len(test)
            assert all(abs(sum(row["probabilities"]) - 1) < 1e-4 and len(row["probabilities"]) == 12 for row in rows)
            assert read_json(folder / "metrics.json")
            assert (folder / "model.safetensors").is_file()


def test_augmented_arms_and_their_control_make_the_same_steps(run):
    steps = {
        arm: json.loads((run / f"results/classifiers/{arm}/seed0/history.jsonl").read_text().splitlines()[-1])["step"]
        for arm in ARMS
    }
    assert len({steps[arm] for arm in ARMS[1:]}) == 1
    assert steps["real"] < steps["real-equal-steps"]


def test_the_report_opens_without_network(run):
    page = (run / "results/report/report.html").read_text("utf-8")
    assert not re.findall(r"""(?:src|href)=["']?https?://""", page)
    assert not re.findall(r"@import|url\(['\"]?https?:", page)
    assert page.count("<img") >= 8
    assert "Calopteryx splendens" in page


def test_every_job_is_a_run_under_one_parent_in_mlflow(run):
    marker = read_json(run / "results/tracking/shipped.json")
    assert marker["failed"] == 0
    with sqlite3.connect(run / "results/mlflow.db") as store:
        tags = store.execute("select run_uuid, key, value from tags").fetchall()
        (parents,) = store.execute("select count(distinct value) from tags where key = 'mlflow.parentRunId'").fetchone()
        (metrics,) = store.execute("select count(*) from metrics where key = 'loss'").fetchone()
    rules = [value for _, key, value in tags if key == "rule"]
    assert parents == 1
    assert rules.count("train_classifier") == len(ARMS) and rules.count("train_stage") == 5
    assert set(rules) >= {"resolve_taxa", "fetch_images", "generate_shard", "decide_verdict", "write_report"}
    assert metrics > 20
    assert any(key.startswith("input.") for _, key, _ in tags)


def test_every_job_left_its_cost(run):
    with (run / "results/evaluation/cost.csv").open() as file:
        rows = list(csv.DictReader(file))
    jobs = [row for row in rows if row["level"] == "job"]
    single = 8 + 4  # of every run; allocation, contour, guide, discriminator
    each = single + 4 + 5 + 1 + 1 + 1 + 3  # packs, stages, captions, ratings, tokens, audits
    assert len(jobs) == each + 3 * len(METHODS) + 2 * len(ARMS)  # shards and gathers, classifiers and scores
    assert all(float(row["wall_s"]) >= 0 for row in jobs)


def test_a_second_run_has_nothing_to_do(run):
    again = snakemake(run)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout + again.stderr


def test_snakemakes_own_report_can_be_made(run):
    done = snakemake(run, "--report", "report.html")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (run / "report.html").stat().st_size > 100_000


def test_the_test_split_was_opened_once_for_each_classifier(run):
    openings = [json.loads(line) for line in (run / "results/state/test_openings.jsonl").read_text().splitlines()]
    assert sorted((row["arm"], str(row["seed"])) for row in openings) == sorted((arm, s) for arm in ARMS for s in "01")


def test_no_test_image_left_a_trace_in_anything_that_is_learnt_drawn_or_chosen(run, traces):
    """A test image of every species is a canary: neither its name nor its pixels are in any file but those named here."""
    may = (
        r"^collection/(images/|packs/test\.|[^/]+$)",  # where images come from, and tables of all of them
        r"^classifiers/[^/]+/seed\d+/predictions\.parquet$",  # what scoring says
        r"^(mlflow\.db|mlartifacts/)",  # copies of the above
    )
    test = sealed(run)
    packs = [Pack.load(run / f"results/collection/packs/{name}.npy") for name in ("train", "validation", "reserve")]
    others = np.concatenate([pack.pixels for pack in packs])
    _, first = np.unique(test.label, return_index=True)
    images = {test.identifier[i]: np.array(test.pixels[i]) for i in first}
    assert len(images) == 12
    assert traces(run / "results", images, others, "|".join(may)) == set()
    seen = {place for place, _ in traces(run / "results", images, others, "^(?!collection/packs|classifiers)")}
    assert {"collection/packs/test.npy", "collection/packs/test.json"} < seen, (
        "the search does find them where they are"
    )


def test_the_contour_adapter_is_trained_where_it_is_asked_for(run):
    done = snakemake(run, "--", "contour")
    assert done.returncode == 0, done.stderr[-3000:]
    folder = run / "results/diffusion/contour"
    assert read_json(folder / "config.json")["_class_name"] == "ControlNetModel"
    assert len(read_lines(folder / "history.jsonl")) == 8 and (folder / "samples/step-000008.png").exists()


def test_a_stage_that_is_told_to_stop_is_started_again_and_goes_on(run, tmp_path):
    workdir = tmp_path / "work"
    shutil.copytree(run, workdir, symlinks=True)
    before = set(workdir.glob("results/state/train_stage/*/events.jsonl"))
    longer = "diffusion={base: {steps: 150}, checkpoint_every: 1000}"
    with (tmp_path / "log").open("w") as log:
        process = snakemake(workdir, "--config", longer, "--", "results/diffusion/base", call=subprocess.Popen,
                            stdout=log, stderr=log)  # fmt: skip
    deadline = time.monotonic() + 900
    while not (new := set(workdir.glob("results/state/train_stage/*/events.jsonl")) - before):
        assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()[-3000:]
        time.sleep(0.05)
    (events,) = new
    while not (lines := read_lines(events)):
        time.sleep(0.05)
    os.kill(lines[0]["pid"], signal.SIGTERM)
    assert process.wait(900) == 0, (tmp_path / "log").read_text()[-3000:]
    lines = read_lines(events)
    assert [line["event"] for line in lines] == ["started", "stopped", "resumed", "finished"]
    assert 0 < lines[1]["step"] == lines[2]["step"] < 150
    assert "exit status 75" in (tmp_path / "log").read_text()


def test_species_without_images_are_drawn_and_scored_apart(tmp_path):
    """The zero-shot protocol from names to the U-S curve; the handicap is chosen without the test."""
    done = snakemake(
        tmp_path, "--config", "protocol={kind: zero_shot}",
        "guidance={methods: [dig_zsl], shards: 1, recipes: {dig_zsl: {species: unseen}}}",
        "classification={arms: [real, real+dig_zsl], seeds: 1}", "tracking={enabled: false}",
        "--", "results/evaluation/zero_shot.csv", "results/report/figures",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-6000:]
    roles = read_json(tmp_path / "results/collection/roles.json")
    unseen = {name for name, role in roles.items() if role == "unseen"}
    assert len(unseen) >= 2 and {"seen", "trial", "unseen"} == set(roles.values())
    train = read_json(tmp_path / "results/collection/packs/train.json")
    assert {roles[train["classes"][label]] for label in train["label"]} == {"seen"}
    drawn = tables.read(SYNTHETIC, tmp_path / "results/images/dig_zsl/metadata.parquet")
    assert {row["scientificName"] for row in drawn} == set(roles)
    assert all(("S*" in row["prompt"]) == (roles[row["scientificName"]] != "seen") for row in drawn)
    rows = tables.read(ZERO_SHOT, tmp_path / "results/evaluation/zero_shot.csv")
    assert {row["metric"] for row in rows} == {"T1", "U", "S", "H", "AUSUC", "lambda"}
    assert {row["arm"] for row in rows} == {"real", "real+dig_zsl"}
    assert list(tmp_path.glob("results/report/figures/zero_shot.*"))
