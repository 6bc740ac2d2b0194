"""The house's own rules: format, lint, light start-up, profiles that plan, documents that are true."""

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def run(*command, **kw):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT, **kw)


def tool(name: str) -> Path:
    """A program installed beside this interpreter."""
    return Path(sys.executable).with_name(name)


@pytest.mark.parametrize("command", [
    pytest.param(["ruff", "check", "."], id="ruff check"),
    pytest.param(["ruff", "format", "--check", "."], id="ruff format"),
    pytest.param(["snakefmt", "--check", "Snakefile", "rules"], id="snakefmt"),
    pytest.param(["snakemake", "--lint"], id="snakemake lint"),
])  # fmt: skip
def test_style(command):
    done = run(tool(command[0]), *command[1:])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("profile", ["default", "ci", "slurm"])
def test_a_dry_run_passes_with_each_profile(profile, tmp_path):
    done = run(
        tool("snakemake"), "-n", "--workflow-profile", ROOT / "profiles" / profile, "--snakefile", ROOT / "Snakefile",
        "--directory", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "train_stage" in done.stdout + done.stderr


HEAVY = {"torch", "pandas", "mlflow", "pyarrow", "diffusers", "timm", "scipy", "matplotlib"}


@pytest.mark.parametrize("module, allowed", [
    pytest.param("taxaforge.plan.keys, taxaforge.driver", set(), id="what the Snakefile imports"),
    pytest.param("taxaforge.adapter", set(), id="what every job imports first"),
    pytest.param("taxaforge.evaluation.comparisons", {"scipy"}, id="statistics know no torch"),
    pytest.param("taxaforge.evaluation.verdict", {"scipy"}, id="the verdict knows no torch"),
    pytest.param("taxaforge.diffusion.stage", {"torch", "diffusers", "scipy"}, id="training knows no tables"),
    pytest.param("taxaforge.guidance.generate", {"torch", "diffusers", "scipy"}, id="drawing knows no tables"),
    pytest.param("taxaforge.classification.train", {"torch", "timm"}, id="classifiers know no diffusers"),
    pytest.param("taxaforge.collection.split", set(), id="splitting knows no torch"),
])  # fmt: skip
def test_nothing_heavy_is_imported_before_it_is_needed(module, allowed):
    done = run(sys.executable, "-c", f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))")
    assert done.returncode == 0, done.stderr
    assert HEAVY & set(json.loads(done.stdout.splitlines()[-1])) <= allowed


def imports() -> dict[str, set[str]]:
    """room -> rooms it imports, from the text of the package."""
    found: dict[str, set[str]] = {}
    for file in (ROOT / "src/taxaforge").rglob("*.py"):
        parts = file.relative_to(ROOT / "src/taxaforge").parts
        if len(parts) > 1:
            others = re.findall(r"^\s*(?:from|import) taxaforge\.(\w+)", file.read_text("utf-8"), re.M)
            found.setdefault(parts[0], set()).update(others)
    return found


ROOMS = ["taxonomy", "collection", "semantics", "diffusion", "classification", "guidance", "evaluation", "report"]


def test_dependencies_between_rooms_point_one_way():
    for room, others in imports().items():
        if room in ROOMS:
            wrong = {other for other in others if other in ROOMS and ROOMS.index(other) > ROOMS.index(room)}
            assert not wrong, f"{room} imports {wrong}, which comes after it"
            assert not others & {"tracking", "adapter", "plan", "config", "driver"}, f"{room} knows the workflow"


def test_rooms_that_compute_know_neither_snakemake_nor_mlflow():
    for room in ROOMS:
        for file in (ROOT / "src/taxaforge" / room).rglob("*.py"):
            assert not re.search(r"^\s*(from|import) (snakemake|mlflow)", file.read_text("utf-8"), re.M), file


def test_no_pickle_is_loaded():
    for file in (ROOT / "src").rglob("*.py"):
        text = file.read_text("utf-8")
        assert not re.search(r"pickle\.load|allow_pickle=True|joblib\.load", text), file
        for call in re.findall(r"torch\.load\([^)]*\)", text):
            assert "weights_only=True" in call, file


def test_conda_environments_use_the_pinned_versions():
    pins = dict(
        line.strip().split("==") for line in (ROOT / "envs/constraints.txt").read_text().splitlines() if "==" in line
    )
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    for env in (ROOT / "envs").glob("*.yaml"):
        for name, version in re.findall(r"- ([\w-]+)==(\S+)", env.read_text()):
            assert pins[name.lower().replace("_", "-")] == version, f"{env.name}: {name}"


def test_constraints_name_versions_and_no_addresses():
    lines = (ROOT / "envs/constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"#.*|[\w.-]+==[\w.+!-]+", line) for line in lines)


def needed(name: str, extras: frozenset[str], found: set[str]) -> None:
    """Adds every distribution that one needs, and what those need, to `found`."""
    for line in metadata.requires(name) or []:
        requirement = Requirement(line)
        wanted = [{"extra": extra} for extra in extras or {""}]
        if requirement.marker and not any(requirement.marker.evaluate(environment) for environment in wanted):
            continue
        other = requirement.name.lower().replace("_", "-").replace(".", "-")
        if other not in found or requirement.extras:
            found.add(other)
            needed(requirement.name, frozenset(requirement.extras), found)


def test_every_package_that_is_installed_for_the_project_has_its_version_pinned():
    lines = (ROOT / "envs/constraints.txt").read_text().splitlines()
    pins = {re.split("==", line)[0].lower().replace("_", "-").replace(".", "-") for line in lines if "==" in line}
    found: set[str] = set()
    needed("taxaforge", frozenset({"test"}), found)
    assert len(found) > 100
    assert found - pins - {"taxaforge"} == set()


def test_rule_files_and_adapters_stay_small():
    for path in (ROOT / "rules").glob("*.smk"):
        assert len(path.read_text().splitlines()) < 200, path
    assert not re.search(r"^\s*rule ", (ROOT / "rules/common.smk").read_text(), re.M)
