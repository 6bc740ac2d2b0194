"""Names to species: the resolver beside a plain pygbif loop, and its offline sources at 1,000 to 100,000 names.

    python benchmarks/names.py --replica ../shared/tools/gbif_replica.py --online 300 --sizes 1000 10000 100000

The checklist is invented, so that the right answer of every name is known: accepted names with and without
author, synonyms, misspellings, open nomenclature, names that nobody has, and names given with a wrong kingdom.
The replica answers as GBIF's name service does, on loopback, calm and with faults. Writes its section of
docs/benchmarks.md anew and leaves the others.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from invented import KINDS, Question, checklist, questions, write_archive, write_list, write_replica, write_snapshot
from watch import alone

from rules import HEAD, PAGE, ROOT, commit_of, put

TITLE = "Names to species"
COL_XR = "7ddf754f-d193-4cc9-b351-99906754a03b"
PATIENCE_S = 3.0
"""Seconds without a byte after which a request counts as failed, for both; pygbif by itself would wait for ever."""


@contextmanager
def replica(program: Path, folder: Path, usages: Path, faults: str) -> Iterator[str]:
    """The address of a replica in a process of its own."""
    port = folder / "port"
    port.unlink(missing_ok=True)
    command = [sys.executable, program, "--data", folder, "--usages", usages, "--faults", faults, "--media-hosts", "0"]
    process = subprocess.Popen([*map(str, command), "--port-file", str(port)], stdout=subprocess.DEVNULL)
    try:
        while not port.exists():
            if process.poll() is not None:
                raise SystemExit("the replica did not start")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port.read_text()}"
    finally:
        process.terminate()
        process.wait()


def requests_of(address: str) -> int:
    """Requests to the name service since the replica started."""
    with urllib.request.urlopen(f"{address}/_stats") as answer:
        endpoints = json.load(answer)["endpoints"]
    return sum(n for endpoint, n in endpoints.items() if "match" in endpoint)


# ---------------------------------------------------------------- both sides; each runs in a process of its own

Answers = dict[str, tuple[str, str | None]]
"""name -> (what became of it: answered, no match or no answer; the species it was given)."""


def plain_loop(asked: list[Question], address: str) -> dict:
    """What a script in an afternoon does: one call a name, the species of the answer's lineage, errors noted.

    pygbif's NoResultException is read as what it is called.
    """
    import pygbif
    import pygbif.gbifutils
    import requests

    class Redirected:
        """pygbif has its host written in; the one name `requests` in this module is where it can be changed."""

        __version__ = requests.__version__

        @staticmethod
        def get(url, **values):
            return requests.get(url.replace("https://api.gbif.org", address), **{"timeout": PATIENCE_S} | values)

    pygbif.gbifutils.requests = Redirected
    answers: Answers = {}
    began = time.monotonic()
    for one in asked:
        hints = {"kingdom": one.kingdom} if one.kingdom else {}
        try:
            body = pygbif.species.name_backbone(scientificName=one.name, checklistKey=COL_XR, **hints)
        except pygbif.gbifutils.NoResultException:
            answers[one.name] = "no match", None
            continue
        except Exception:  # whatever pygbif raises; a plain loop goes on, and that is what is measured
            answers[one.name] = "no answer", None
            continue
        ranks = {taxon["rank"]: taxon["name"] for taxon in body.get("classification", [])}
        answers[one.name] = ("answered" if "usage" in body else "no match"), ranks.get("SPECIES")
    return {"wall_s": time.monotonic() - began, "answers": answers}


def resolver(folder: Path, address: str, source: str, cross_check: bool = True) -> dict:
    """taxaforge's resolver over folder/list.csv, which holds the other sources too; no pacing, so that its work is seen."""
    os.environ["GBIF_API_BASE"] = address
    import pyarrow.parquet  # noqa: F401 -- loaded before the clock starts, as the loop's libraries are
    import pygbif  # noqa: F401

    from taxaforge import tables
    from taxaforge.config.network import Network
    from taxaforge.config.taxonomy import Taxonomy
    from taxaforge.taxonomy.resolve import NamesNotAnswered, resolve
    from taxaforge.taxonomy.schema import TAXA

    network = Network(store=str(folder / "store"), requests_per_second=1e6, timeout_s=PATIENCE_S, contact="benchmark")
    out = folder / "out"
    began = time.monotonic()
    try:
        resolve(
            taxa=folder / "list.csv",
            cfg=Taxonomy(source=source, cross_check=cross_check).model_dump(),
            network=network.model_dump() | {"offline": False},
            snapshot=folder / "snapshot.csv",
            archive=folder / "archive.zip",
            out_taxa=out / "taxa.parquet",
            out_review=out / "review.csv",
            out_classes=out / "classes.json",
            out_collisions=out / "collisions.csv",
            out_provenance=out / "provenance.csv",
            out_ledger=out / "ledger.json",
            log=lambda step, values: None,
        )
    except NamesNotAnswered as error:
        return {"wall_s": time.monotonic() - began, "answers": dict.fromkeys(error.reasons, ("no answer", None))}
    wall = time.monotonic() - began
    answers = {
        row["verbatimName"]: (
            {"no_match": "no match", "transport_error": "no answer"}.get(row["status"], "answered"),
            row["scientificName"] if row["label"] else None,
        )
        for row in tables.read(TAXA, out / "taxa.parquet")
    }
    return {"wall_s": wall, "answers": answers}


OUTCOMES = ("right", "wrong species", "set aside", "called no match", "no answer")


def outcome(one: Question, answered: tuple[str, str | None] | None) -> str:
    """What became of a name, against what it is. A name that means no species is right where it is given none."""
    what, species = answered or ("no answer", None)
    if what == "no answer":
        return what
    if species is not None:
        return "right" if species == one.species else "wrong species"
    if one.species is None:
        return "right"
    return "called no match" if what == "no match" else "set aside"


def outcomes(asked: list[Question], taken: dict) -> list[int]:
    counts = Counter(outcome(one, taken["answers"].get(one.name)) for one in asked)
    return [counts[name] for name in OUTCOMES]


# ---------------------------------------------------------------- the page


def online(work: Path, program: Path, n: int, faults: str) -> list[str]:
    species = checklist(max(n, 200))
    asked = questions(species, n)
    usages = write_replica(work / "replica", species)
    lines = [
        f"| the service | who asks | requests | names/s | to the loop | {' | '.join(OUTCOMES)} |",
        "|---" * (5 + len(OUTCOMES)) + "|",
    ]
    for label, spec in (("calm", "none"), (f"faults `{faults}`", faults)):
        runs = [("plain pygbif loop", None), ("taxaforge, one checklist", False), ("taxaforge, both checklists", True)]
        base = 0.0
        for who, cross_check in runs:
            folder = work / f"{spec[:4]}-{cross_check}"
            folder.mkdir()
            write_list(folder / "list.csv", asked)
            with replica(program, work / "replica", usages, spec) as address:
                for again in (False, True) if cross_check else (False,):
                    before = requests_of(address)
                    if cross_check is None:
                        taken = alone(plain_loop, asked=asked, address=address)
                    else:
                        taken = alone(resolver, folder=folder, address=address, source="gbif", cross_check=cross_check)
                    rate = n / taken["wall_s"]
                    base = base or rate
                    counts = " | ".join(map(str, outcomes(asked, taken)))
                    lines.append(
                        f"| {label} | {who}{', run again' if again else ''} | {requests_of(address) - before} | {rate:.0f} | "
                        f"{rate / base:.2f} | {counts} |"
                    )
    return lines


def offline(work: Path, size: int, sizes: list[int]) -> list[str]:
    species = checklist(size)
    write_snapshot(work / "snapshot.csv", species)
    write_archive(work / "archive.zip", species)
    lines = [
        f"| source | names in the list | wall (s) | names/s | memory (MiB) | {' | '.join(OUTCOMES)} |",
        "|---" * (5 + len(OUTCOMES)) + "|",
    ]
    for source in ("snapshot", "archive"):
        for n in sizes:
            asked = questions(species, n)
            write_list(work / "list.csv", asked)
            taken = alone(resolver, folder=work, address="http://127.0.0.1:9", source=source)
            counts = " | ".join(map(str, outcomes(asked, taken)))
            lines.append(
                f"| {source} | {n:,} | {taken['wall_s']:.1f} | {n / taken['wall_s']:,.0f} | {taken['memory_mib']:.0f} | {counts} |"
            )
    return lines


def section(work: Path, given: argparse.Namespace) -> str:
    command = f"python benchmarks/names.py --online {given.online} --checklist {given.checklist} --sizes {' '.join(map(str, given.sizes))}"
    shares = ", ".join(f"{kind} {percent} %" for kind, percent in KINDS)
    lines = [f"## {TITLE}", "", f"`{command}` at {commit_of(ROOT / 'results')}. An invented checklist, so that every right answer is known; different names: {shares}."]  # fmt: skip
    if given.replica:
        lines += [
            "",
            f"{given.online} names asked of the replica on loopback, without pacing (GBIF is asked `network.requests_per_second` times a second, "
            "which is then the limit). The loop calls `name_backbone` once a name and goes on after an error; it was given a time limit of "
            f"{PATIENCE_S:.0f} s, which pygbif 0.7 has not. *Set aside*: the name exists, no species was given, and the row says why: misspellings of "
            "the offline sources and names with a wrong kingdom belong there. *Right* includes names that mean no species and were given none. "
            "*Run again*: the same list, answered from the store. taxaforge has each answer on disk before it asks the next "
            "question, so that a kill loses none.",
            "",
            *online(work, given.replica, given.online, given.faults),
        ]
    lines += [
        "",
        f"Offline sources, a checklist of {given.checklist:,} species and {given.checklist // 4:,} synonyms; memory is of the whole process.",
        "",
        *offline(work, given.checklist, given.sizes),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--replica", type=Path, help="gbif_replica.py; without it only the offline sources are measured"
    )
    parser.add_argument("--online", type=int, default=300, help="names asked of the replica")
    parser.add_argument("--faults", default="default", help="faults of the replica, a preset or name=value items")
    parser.add_argument("--checklist", type=int, default=100_000, help="species in the offline checklist")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="names in the offline lists"
    )
    parser.add_argument("--page", type=Path, default=PAGE, help="where the section goes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        text = section(Path(work), given)
    put(given.page, HEAD, TITLE, text)
    print(text)
