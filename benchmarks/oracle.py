"""What GBIF's own regression queries get from the service, and what our judge makes of each answer.

    python benchmarks/oracle.py --shared ../shared

Asks the replica of GBIF in --shared, or the service at --base, the queries of match_oracle_dev.jsonl as the resolver would.
Writes its section of docs/benchmarks.md anew and leaves the others: how many expectations are met, each that is not, and
each row where our label is not simply the species that the service answered.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rules import HEAD, PAGE, ROOT, commit_of, put
from taxaforge.taxonomy.answers import Answer, Usage
from taxaforge.taxonomy.judge import Verdict, judge
from taxaforge.taxonomy.names import Name, parse
from taxaforge.taxonomy.schema import POLICY, RANKS
from taxaforge.taxonomy.sources import gbif

TITLE = "Queries of GBIF's own regression suite"


@dataclass(frozen=True)
class Row:
    """A query of the oracle, the service's answer to it as written and as we put it, and our verdict."""

    query: dict
    hints: dict[str, str]
    as_written: Usage | None
    answer: Answer | None
    verdict: Verdict

    @property
    def recorded(self) -> Usage | None:
        return self.answer.best if self.answer else None

    @property
    def differs(self) -> bool:
        """Whether who takes the service's word gets another species than who takes ours."""
        ours = self.verdict.usage.species_key if self.verdict.labelled(POLICY) else ""
        return ours != (self.as_written.species_key if self.as_written else "")

    def meets(self, usage: Usage | None) -> bool:
        return self.query["expectedKey"] == (usage.key.split(":")[1] if usage else None)


def rows(oracle: Path, network: dict) -> Iterator[Row]:
    """Every query that can be put plainly; those with an exclusion list cannot."""
    with gbif.session("gbif_backbone", network) as backbone, gbif.session("col_xr", network) as col:
        for query in map(json.loads, oracle.read_text("utf-8").splitlines()):
            if query["excluded"]:
                continue
            written, expected = query["scientificName"] or "", query["expectedKey"]
            name, ask = parse(written), col if expected and not expected.isdigit() else backbone
            given = {rank: value for rank, value in query["classification"].items() if value}
            hints = given | ({"taxonRank": query["taxonRank"]} if query["taxonRank"] else {})
            as_written = ask(Name(written, written, "species"), hints).best if written else None
            answer = ask(name, hints) if name.canonical else None
            ranks = {rank: value for rank, value in given.items() if rank in RANKS[:-1]}
            yield Row(query, hints, as_written, answer, judge(name, ranks, answer or Answer()))


@contextmanager
def service(shared: Path, base: str) -> Iterator[None]:
    """GBIF_API_BASE is set: to `base`, else to a replica that knows the recorded answers."""
    if base:
        os.environ["GBIF_API_BASE"] = base
        yield
        return
    spec = importlib.util.spec_from_file_location("gbif_replica", shared / "tools/gbif_replica.py")
    tool = sys.modules["gbif_replica"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    with tool.Replica(shared / "data/lepidoptera", recorded=[shared / "gbif/gbif_recorded.jsonl.gz"], seed=1) as server:
        os.environ["GBIF_API_BASE"] = server.url
        yield


def table(heads: list[str], lines: list[list[str]]) -> str:
    safe = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in [heads, ["---"] * len(heads), *safe])


def asked(row: Row) -> str:
    hints = ", ".join(f"{rank} {value}" for rank, value in row.hints.items())
    return f"`{row.query['scientificName'] or ''}`" + (f" ({hints})" if hints else "")


def told(usage: Usage | None) -> str:
    if usage is None:
        return "no match"
    species = usage.lineage.get("species")
    moved = f" = {species}" if species and species != usage.canonical else ""
    return f"{usage.canonical} {usage.author}".strip() + f"{moved} ({usage.rank}, {usage.status.lower()}) {usage.key}"


def report(found: list[Row]) -> str:
    met, ours = [row for row in found if row.meets(row.as_written)], [row for row in found if row.meets(row.recorded)]
    differing = [row for row in found if row.differs]
    unmet = [
        [asked(row), row.query["expectedKey"] or "no match", told(row.as_written),
         told(row.recorded) if row.answer else f"not asked: {row.verdict.status}"]
        for row in found if not (row.meets(row.as_written) and row.meets(row.recorded))
    ]  # fmt: skip
    counts = Counter((row.verdict.status, row.differs) for row in found)
    statuses = [
        [f"`{status}`", str(counts[status, False] + counts[status, True]), str(counts[status, True])]
        for status in sorted({status for status, _ in counts})
    ]
    rows = [
        [asked(row), told(row.as_written), f"`{row.verdict.status}`",
         row.verdict.usage.lineage["species"] if row.verdict.labelled(POLICY) else "", row.verdict.reason]
        for row in differing
    ]  # fmt: skip
    return "\n\n".join(
        [
            f"The part of the suite that was to be had (gbif/matching-ws @785318d), answered by the replica. {len(found)} queries; the service gives the expected key for {len(met)} as written, and for {len(ours)} as the resolver "
            f"puts them. In {len(differing)} our label is not the service's species: it is another one in "
            f"{sum(row.verdict.labelled(POLICY) for row in differing)}, and in the others there is none and a person decides.",
            "### Expected key not given",
            table(["query", "expected", "answered as written", "answered to the resolver"], unmet),
            "### Verdicts",
            table(["status", "queries", "differ from the service"], statuses),
            "### Where our label is not the service's species",
            table(["query", "the service", "status", "our label", "reason"], rows),
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("TAXAFORGE_SHARED", ROOT.parent / "shared")))
    parser.add_argument("--base", default="", help="ask this service instead of the replica")
    parser.add_argument("--contact", default="", help="sent in the User-Agent")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the section goes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as store, service(given.shared, given.base):
        network = {"contact": given.contact, "timeout_s": 30.0, "tries": 6, "reuse_days": 30.0, "offline": False, "store": store,
                   "requests_per_second": 10.0 if given.base else 1000.0}  # fmt: skip
        text = report(list(rows(given.shared / "gbif/match_oracle_dev.jsonl", network)))
    command = (
        f"`python benchmarks/oracle.py{f' --base {given.base}' * bool(given.base)}` at {commit_of(ROOT / 'results')}."
    )
    put(given.page, HEAD, TITLE, f"## {TITLE}\n\n{command} {text}\n")
    print(text)
