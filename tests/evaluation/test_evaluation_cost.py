import json

import pytest

from taxaforge import tables
from taxaforge.evaluation.cost import tally
from taxaforge.evaluation.schema import COST

SECONDS = {
    ("fetch_images",): 1,
    ("train_stage", "stage=base"): 2,
    ("train_guide",): 512,
    ("generate_shard", "method=a", "shard=0"): 4,
    ("generate_shard", "method=a", "shard=1"): 8,
    ("gather_images", "method=a"): 16,
    ("generate_shard", "method=b", "shard=0"): 32,
    ("train_classifier", "arm=real", "seed=0"): 64,
    ("train_classifier", "arm=real+a", "seed=0"): 128,
    ("train_classifier", "arm=real+b", "seed=0"): 256,
}


@pytest.fixture
def table(tmp_path):
    jobs = []
    for number, ((rule, *wildcards), seconds) in enumerate(SECONDS.items()):
        path = tmp_path / f"{number}.jsonl"
        gpu = 1 if rule == "train_stage" else 0
        line = {"s": seconds, "cpu_time": 2 * seconds, "max_rss": 100 + number, "resources": {"gpu": gpu}}
        if rule == "fetch_images":
            line |= {"cpu_time": "NA", "max_rss": "NA"}
        path.write_text(json.dumps(line) + "\n")
        jobs.append({"rule": rule, "wildcards": dict(w.split("=") for w in wildcards), "benchmark": path})
    jobs.append({"rule": "train_classifier", "wildcards": {"arm": "real", "seed": "1"}, "benchmark": tmp_path / "none"})
    shared = {"rules": ["generate_shard", "gather_images", "train_stage"]}
    arms = {
        "real": {"methods": [], "rules": []},
        "real+a": {"methods": ["a"], **shared},
        "real+b": {"methods": ["b"], "rules": [*shared["rules"], "train_guide"]},
    }
    tally(jobs=jobs, arms=arms, out=tmp_path / "cost.csv")
    return {(row["level"], row["name"]): row for row in tables.read(COST, tmp_path / "cost.csv")}


def test_an_arm_costs_what_it_would_take_to_have_it_alone(table):
    """Powers of two: each sum tells which jobs are in it. The generator is in both, the guide in one, fetching in none."""
    assert {name: row["wall_s"] for (level, name), row in table.items() if level == "arm"} == {
        "real": 64,
        "real+a": 2 + 4 + 8 + 16 + 128,
        "real+b": 2 + 512 + 32 + 256,
    }


def test_jobs_rules_and_total_add_up(table):
    for level in ("job", "rule", "total"):
        assert sum(row["wall_s"] for (name, _), row in table.items() if name == level) == sum(SECONDS.values())
    assert table["job", "generate_shard/a/1"]["wall_s"] == 8
    assert table["rule", "generate_shard"] | {"level": "", "name": ""} == {
        "level": "", "name": "", "jobs": 3, "wall_s": 44, "cpu_s": 88, "peak_mib": 106, "device_s": 0, "energy_wh": None,
    }  # fmt: skip


def test_gpu_time_counts_only_where_a_gpu_was_reserved(table):
    assert table["total", "total"]["device_s"] == 2


def test_what_was_too_short_to_sample_has_no_peak(table):
    assert table["job", "fetch_images"]["peak_mib"] is None and table["job", "fetch_images"]["cpu_s"] == 0


def test_energy_is_added_up_only_where_every_job_with_a_gpu_read_it(tmp_path):
    jobs = []
    read = (("a", 1, 7200), ("a", 1, 3600), ("a", 0, None), ("b", 1, 3600), ("b", 1, None), ("c", 0, None))
    for number, (method, gpu, joules) in enumerate(read):
        path = tmp_path / f"{number}.jsonl"
        path.write_text(json.dumps({"s": 1, "cpu_time": 1, "max_rss": 1, "resources": {"gpu": gpu}}) + "\n")
        if joules is not None:
            path.with_suffix(".energy.json").write_text(json.dumps({"joules": joules}))
        wildcards = {"method": method, "shard": str(number)}
        jobs.append({"rule": "generate_shard", "wildcards": wildcards, "benchmark": path})
    arms = {f"real+{m}": {"methods": [m], "rules": []} for m in "abc"}
    tally(jobs=jobs, arms=arms, out=tmp_path / "cost.csv")
    found = {row["name"]: row["energy_wh"] for row in tables.read(COST, tmp_path / "cost.csv") if row["level"] == "arm"}
    assert found == {"real+a": 3.0, "real+b": None, "real+c": None}
