"""A fetch that is killed, or cut off from the world, goes on where it was and ends with the same bytes."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

SHARED = Path(os.environ.get("TAXAFORGE_SHARED", Path(__file__).parents[3] / "shared"))
SPECIES = ["Aglais io", "Danaus plexippus", "Vanessa cardui"]
FAULTS = (
    "dead=.05,truncated=.03,html=.03,empty=.02,bomb=.02,redirect=.05,loop=.02,m429=.1,m503=.1,short=.05,shared=.1,dup=.05,"
    "429=.3,503=.3,trunc=.1,html200=.1,retry_after=0"
)

# Imports once, then forks a child for each line of its input: {"after": s, "limit": n, **arguments of fetch}. The child is
# killed after s seconds, or at its n-th call that makes something durable or visible; null: it is left in peace.
NURSERY = """
import json, os, signal, sys, time
from taxaforge.collection.fetch import fetch
from taxaforge.collection.sources import gbif, gbif_archive, hosts
from taxaforge.taxonomy import transport
import pyarrow.parquet, pygbif, PIL.JpegImagePlugin, PIL.PngImagePlugin
hosts.FIRST_PAUSE_S = transport.SHORTEST_PAUSE_S = 0.01

def limited(function, left):
    def call(*args, **options):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)
    return call

for line in sys.stdin:
    asked = json.loads(line)
    limit, after = asked.pop("limit"), asked.pop("after")
    child = os.fork()
    if not child:
        left = [limit or -1]
        for name in ("replace", "fsync", "link", "rmdir"):
            setattr(os, name, limited(getattr(os, name), left))
        try:
            fetch(**asked)
        except BaseException as error:
            print("raised", type(error).__name__, error, flush=True)
            os._exit(1)
        print("calls", -1 - left[0] if not limit else 0, flush=True)
        os._exit(0)
    if after:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)  # still our child, for nobody has waited for its end
    print("ended", os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture(scope="module")
def tool(gbif_replica):
    return gbif_replica


def free_ports():
    """The first of three free ports in a row."""
    for first in range(20_000 + os.getpid() % 20_000, 60_000, 3):
        try:
            for port in range(first, first + 3):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise AssertionError("no free ports")


class Service:
    """The replica in a process of its own, always at the same address, so that it can vanish and come back."""

    def __init__(self, tool):
        self.port = free_ports()
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = [
            sys.executable, tool.FILE, "--data", tool.DATA, "--port", str(self.port), "--faults", FAULTS, "--seed", "3",
        ]  # fmt: skip

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                return self.stats()
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the replica did not start")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stats(self, page="_stats"):
        with urlopen(f"{self.url}/{page}", timeout=5) as answer:
            return json.load(answer)

    def forget(self):
        """Every fault that passes is there again."""
        self.stats("_reset")


class Nursery:
    """Runs of fetch in processes of their own."""

    def __init__(self, url, classes):
        self.classes = classes
        self.process = subprocess.Popen(
            [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "GBIF_API_BASE": url},
        )  # fmt: skip

    def start(self, folder, after=None, limit=None, workers=6):
        folder.mkdir(exist_ok=True)
        (folder / "classes.json").write_text(json.dumps(self.classes))
        arguments = {
            "classes": str(folder / "classes.json"), "source": "gbif", "seed": 0, "taxonomy": {"checklist": "col_xr"}, "job": "j",
            "out_table": str(folder / "c/candidates.parquet"), "out_images": str(folder / "c/images"),
            "out_origin": str(folder / "c/origin.json"),
            "cfg": {
                "images_per_species": 20, "images_per_observer": 3, "licences": ["CC0-1.0", "CC-BY-4.0"], "country": [], "year": "",
                "basis_of_record": [], "via": "auto", "archive": "", "allow_private_hosts": True,
            },
            "network": {
                "contact": "", "timeout_s": 5.0, "tries": 6, "requests_per_second": 1000.0, "store": str(folder / "store"),
                "reuse_days": 30.0, "image_requests_per_second": 300.0, "image_workers": workers,
                "offline": False,
            },
        }  # fmt: skip
        self.process.stdin.write(json.dumps({"after": after, "limit": limit} | arguments) + "\n")
        self.process.stdin.flush()
        self.said = []

    def line(self, word):
        """What follows the first line that begins with a word."""
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith(word + " "):
                return line.split(" ", 1)[1]
        raise AssertionError("the nursery died")

    def run(self, folder, **options):
        """Exit status of a whole run."""
        self.start(folder, **options)
        return int(self.line("ended"))


@pytest.fixture(scope="module")
def service(tool):
    replica = Service(tool)
    replica.start()
    yield replica
    replica.kill()


@pytest.fixture(scope="module")
def nursery(service, tool):
    tax = tool.Replica(tool.DATA, seed=3).tax
    made = Nursery(
        service.url, [{"species": name, "taxonID": f"col_xr:{tax.find(tool.COL, name).key}"} for name in SPECIES]
    )
    yield made
    made.process.stdin.close()
    made.process.wait()


def outputs(folder):
    """Everything beside the store, unfinished files included."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in (folder / "c").rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(nursery, service, tmp_path_factory):
    """Outputs of a run that nothing happened to, the seconds it took and the durable steps it made."""
    folder = tmp_path_factory.mktemp("undisturbed")
    service.forget()
    began = time.monotonic()
    assert nursery.run(folder) == 0
    took = time.monotonic() - began
    steps = int(next(line for line in nursery.said if line.startswith("calls")).split()[1])
    found = outputs(folder)
    assert len(found) > 50 and steps > 150
    assert service.stats()["faults_served"]["m429"] > 3
    return found, took, steps


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments_and_started_again_it_gives_the_same_bytes(
    nursery, service, undisturbed, tmp_path, seed
):
    expected, took, _ = undisturbed
    chance, kills = random.Random(seed), 0
    service.forget()
    for _ in range(4):
        after, workers = chance.uniform(0.02, 0.4 * took), chance.choice((1, 6))
        kills += nursery.run(tmp_path, after=after, workers=workers) == signal.SIGKILL
    assert nursery.run(tmp_path) == 0
    assert kills >= 2
    assert outputs(tmp_path) == expected
    report = service.stats()
    assert report["repeats"] <= 6 * kills  # what was under way at a kill, and nothing else, was fetched again


@pytest.mark.parametrize("seed", range(2))
def test_killed_between_any_two_durable_steps_it_gives_the_same_bytes(nursery, service, undisturbed, tmp_path, seed):
    expected, _, steps = undisturbed
    chance = random.Random(seed)
    service.forget()
    for limit in (chance.randrange(1, steps // 2), chance.randrange(1, 60), steps // 2 - chance.randrange(20), 5, 1):
        nursery.run(tmp_path, limit=limit)
    assert nursery.run(tmp_path) == 0
    assert outputs(tmp_path) == expected


def test_killed_while_outputs_appear_it_gives_the_same_bytes(nursery, undisturbed, tmp_path):
    """The last steps: links of the pictures, then folder, origin and table take their names."""
    expected = undisturbed[0]
    assert nursery.run(tmp_path) == 0
    links = sum(name.startswith("c/images/") for name in expected)
    killed = 0
    for limit in (1, links // 2, links - 1, links, links + 1, links + 2, links + 3, links + 4):
        killed += nursery.run(tmp_path, limit=limit) != 0
        assert nursery.run(tmp_path) == 0
        assert outputs(tmp_path) == expected
    assert killed >= 6


def test_an_outage_in_the_middle_is_an_error_that_loses_nothing(nursery, service, undisturbed, tmp_path):
    service.forget()
    nursery.start(tmp_path)
    index = tmp_path / "store/media/index.jsonl"
    while not index.exists() or index.read_bytes().count(b"\n") < 25:
        time.sleep(0.005)
    service.kill()
    try:
        assert int(nursery.line("ended")) != 0
        assert any(line.startswith("raised Unavailable") for line in nursery.said)
        assert not (tmp_path / "c/candidates.parquet").exists()
        had = [json.loads(line) for line in index.read_text().splitlines()]
        assert not any(line.get("passing") for line in had)  # the outage was written down as nobody's error
    finally:
        service.start()
    assert nursery.run(tmp_path) == 0
    assert outputs(tmp_path) == undisturbed[0]
    now = [json.loads(line)["url"] for line in index.read_text().splitlines()]
    assert len(now) == len(set(now)) and now[: len(had)] == [line["url"] for line in had]
