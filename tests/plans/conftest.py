"""Plans without running anything: which jobs would Snakemake run for this configuration?"""

import asyncio
import copy
import os
from collections import Counter
from pathlib import Path

import pytest
import yaml
from snakemake.api import SnakemakeApi
from snakemake.settings.enums import Quietness, RerunTrigger
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings, StorageSettings

ROOT = Path(__file__).parents[2]


class Planner:
    """A working directory in which jobs can be called finished and plans asked for."""

    def __init__(self, workdir: Path, checkout: Path = ROOT):
        self.workdir, self.checkout = workdir, checkout
        profile = yaml.safe_load((checkout / "profiles/default/profile.yaml").read_text())
        self.triggers = RerunTrigger.parse_choices_set(profile["rerun-triggers"])

    def _dag(self, config: dict, act):
        here = Path.cwd()
        try:
            with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
                workflow = api.workflow(
                    resource_settings=ResourceSettings(cores=2),
                    config_settings=ConfigSettings(config=copy.deepcopy(config)),
                    storage_settings=StorageSettings(),
                    snakefile=self.checkout / "Snakefile",
                    workdir=self.workdir,
                )
                workflow.dag(DAGSettings(rerun_triggers=self.triggers)).execute_workflow(executor="dryrun")
                os.chdir(self.workdir)  # the API has gone back to where it came from
                return act(workflow._workflow)
        finally:
            os.chdir(here)

    def jobs(self, config: dict | None = None) -> list:
        """(rule, wildcards) of the jobs that would run, without the target rules."""

        def needed(workflow):
            jobs = workflow.dag.needrun_jobs(exclude_finished=False)
            return [(job.rule.name, dict(job.wildcards_dict)) for job in jobs if job.output]

        return self._dag(config or {}, needed)

    def rules(self, config: dict | None = None) -> Counter:
        """How many jobs of each rule would run."""
        return Counter(rule for rule, _ in self.jobs(config))

    def edges(self, config: dict | None = None) -> dict[tuple, set[tuple]]:
        """job -> the jobs whose outputs it reads, as Snakemake sees it."""

        def graph(workflow):
            name = lambda job: (job.rule.name, *sorted(job.wildcards_dict.items()))  # noqa: E731
            return {
                name(job): {name(before) for before in workflow.dag.dependencies[job]}
                for job in workflow.dag.jobs
                if job.output
            }

        return self._dag(config or {}, graph)

    def inputs(self, config: dict | None = None) -> dict[str, set[str]]:
        """rule -> every path that any of its jobs reads."""

        def read(workflow):
            paths = {}
            for job in workflow.dag.jobs:
                paths.setdefault(job.rule.name, set()).update(map(str, job.input))
            return paths

        return self._dag(config or {}, read)

    def finish(self, config: dict | None = None) -> None:
        """Makes every output and Snakemake's record of it, as if the whole workflow had run."""

        def record(workflow):
            for job in workflow.dag.toposorted():
                for one in job:
                    for output in one.output:
                        path = Path(output)
                        if output.is_directory:
                            path.mkdir(parents=True, exist_ok=True)
                        else:
                            path.parent.mkdir(parents=True, exist_ok=True)
                            path.write_text("made by a test\n")
                        os.utime(path, (2e9, 2e9))
                    asyncio.run(workflow.persistence.finished(one))

        self._dag(config or {}, record)


@pytest.fixture
def planner(tmp_path) -> Planner:
    """A fresh working directory in which the whole default run counts as finished."""
    planner = Planner(tmp_path)
    planner.finish()
    return planner


@pytest.fixture
def make_planner(tmp_path):
    """A planner with nothing done yet, of this or another checkout, in a working directory of its own."""

    def make(checkout: Path = ROOT) -> Planner:
        workdir = tmp_path / "work"
        workdir.mkdir()
        return Planner(workdir, checkout)

    return make
