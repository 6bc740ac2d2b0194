"""From the user's list to accepted species: asks once a name, judges each row, writes taxa, review and classes."""

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from taxaforge import tables
from taxaforge.errors import TaxaforgeError
from taxaforge.files import write_json
from taxaforge.progress import Progress
from taxaforge.taxonomy import taxa_list
from taxaforge.taxonomy.answers import Answer
from taxaforge.taxonomy.judge import Verdict, judge
from taxaforge.taxonomy.names import Name, parse
from taxaforge.taxonomy.schema import RANKS, REVIEW, TAXA
from taxaforge.taxonomy.sources import gbif, snapshot
from taxaforge.taxonomy.taxa_list import Entry
from taxaforge.taxonomy.transport import GbifError

GIVE_UP_AFTER = 5
"""Names in a row without an answer after which the service counts as down and is left in peace."""

Ask = Callable[[Name], Answer]
Log = Callable[[int | None, dict[str, float]], None]


class NamesNotAnswered(TaxaforgeError):
    """The name service gave no answer for some names: unknown is not the same as nonexistent."""

    def __init__(self, reasons: Mapping[str, str], of: int):
        self.reasons = dict(reasons)
        shown = "; ".join(f"{name!r} (transport_error: {why})" for name, why in list(reasons.items())[:5])
        more = f"; and {len(reasons) - 5} more" if len(reasons) > 5 else ""
        super().__init__(
            f"{len(reasons)} of {of} names got no answer from the name service, {of - len(reasons)} did: {shown}{more}. "
            "Nothing is written, so that no name is lost by accident. Run the same command again when the service is back, "
            "or set `taxonomy.source: snapshot`."
        )


class NoSpecies(TaxaforgeError):
    """Not one name of the list became a species."""

    def __init__(self, verdicts: Sequence[tuple[Entry, Verdict]]):
        shown = "; ".join(f"{entry.name!r} ({verdict.status}: {verdict.reason})" for entry, verdict in verdicts[:5])
        more = f"; and {len(verdicts) - 5} more" if len(verdicts) > 5 else ""
        super().__init__(
            f"None of {len(verdicts)} names has an accepted species: {shown}{more}. "
            "Correct the names, or ask another source: `taxonomy.source` and `taxonomy.checklist`."
        )


class OneNameTwoSpecies(TaxaforgeError):
    """Two accepted species of the list share their name, in two kingdoms or as two keys: no label can tell them apart."""


def resolve(
    *,
    taxa: str | Path,
    snapshot: str | Path | None,
    cfg: Mapping,
    out_taxa: str | Path,
    out_review: str | Path,
    out_classes: str | Path,
    log: Log = lambda step, values: None,
) -> None:
    """Resolve a species list.

    Args:
        taxa: the user's CSV. snapshot: the offline taxonomy, needed where cfg["source"] is "snapshot".
        cfg: section `taxonomy` of the configuration.
        out_taxa: table TAXA, a row for every name. out_review: table REVIEW, the names without a label.
        out_classes: the distinct accepted species in the class order of the run.
        log: gets the counts: names, species, review and one `status_<status>` each.
    Raises: BadTaxaList, BadSnapshot; NamesNotAnswered; NoSpecies; OneNameTwoSpecies. Nothing is written then.
    """
    entries = taxa_list.read(taxa)
    names = {entry.row: parse(entry.name) for entry in entries}
    with _source(cfg, snapshot) as (label, ask):
        answers, failures = ask_all({name.canonical: name for name in names.values() if not name.problem}, ask)
    verdicts = []
    for entry in entries:
        name = _with_author(names[entry.row], entry)
        if name.canonical in failures:
            verdicts.append((entry, Verdict("transport_error", str(failures[name.canonical]))))
        else:
            verdicts.append((entry, judge(name, entry.hints, answers.get(name.canonical, Answer()))))
    if failures:
        lost = {entry.name: verdict.reason for entry, verdict in verdicts if verdict.status == "transport_error"}
        raise NamesNotAnswered(lost, len(entries))
    if not any(verdict.label for _, verdict in verdicts):
        raise NoSpecies(verdicts)
    rows = [
        _row(entry, names[entry.row], verdict, answers.get(names[entry.row].canonical), label)
        for entry, verdict in verdicts
    ]
    classes = distinct_species(rows)
    review = [
        {"row": entry.row, "verbatimName": entry.name, "status": verdict.status, "reason": verdict.reason,
         "candidates": " | ".join(verdict.candidates)}
        for entry, verdict in verdicts
        if not verdict.label
    ]  # fmt: skip
    tables.write(TAXA, rows, out_taxa)
    tables.write(REVIEW, review, out_review)
    write_json(out_classes, classes)
    _tell(rows, review, classes, out_review)
    counts = Counter(row["status"] for row in rows)
    log(
        None,
        {"names": len(rows), "species": len(classes), "review": len(review)}
        | {f"status_{k}": n for k, n in sorted(counts.items())},
    )


def ask_all(queries: Mapping[str, Name], ask: Ask) -> tuple[dict[str, Answer], dict[str, GbifError]]:
    """One question each, in alphabetical order whatever the order of the list: answers, and what got none."""
    answers: dict[str, Answer] = {}
    failures: dict[str, GbifError] = {}
    progress, in_a_row = Progress("names", len(queries), "names"), 0
    for done, canonical in enumerate(sorted(queries), 1):
        if in_a_row >= GIVE_UP_AFTER:
            failures[canonical] = GbifError("Not asked: the service was down.")
            continue
        try:
            answers[canonical] = ask(queries[canonical])
            in_a_row = 0
        except GbifError as error:
            failures[canonical] = error
            in_a_row += 1
        progress(done)
    return answers, failures


def distinct_species(rows: Sequence[Mapping]) -> list[dict]:
    """The classes of the run: each accepted species once, sorted by kingdom to species.

    Independent of the order of the list: of several vernacular names the one given with the accepted
    name wins, then the first in the alphabet. Raises: OneNameTwoSpecies.
    """
    found: dict[str, list[Mapping]] = defaultdict(list)
    for row in rows:
        if row["label"]:
            found[row["taxonID"]].append(row)
    classes = []
    for taxon, same in found.items():
        named = sorted(
            (row["status"] != "exact_accepted", row["vernacularName"]) for row in same if row["vernacularName"]
        )
        lineage = {rank: same[0][rank] for rank in RANKS}
        classes.append({**lineage, "taxonID": taxon, "vernacularName": named[0][1] if named else None})
    for name, times in Counter(record["species"] for record in classes).items():
        if times > 1:
            written = ", ".join(repr(row["verbatimName"]) for row in rows if row["scientificName"] == name)
            raise OneNameTwoSpecies(
                f"{written} are {times} different taxa, all called {name}. Keep one of them: classes are told apart by name."
            )
    return sorted(classes, key=lambda record: tuple(record[rank] or "" for rank in RANKS))


@contextmanager
def _source(cfg: Mapping, table: str | Path | None):
    """The name for column `source`, and whom to ask."""
    if cfg["source"] == "gbif":
        with gbif.session(cfg["checklist"], cfg["timeout_s"], cfg["tries"], cfg["contact"]) as ask:
            yield cfg["checklist"], ask
    elif table is None:
        raise TaxaforgeError("`taxonomy.source` is snapshot, but `taxonomy.snapshot` names no file.")
    else:
        yield "snapshot", snapshot.load(table)


def _with_author(name: Name, entry: Entry) -> Name:
    """The author of its own column counts where the name carries none."""
    if name.author or not entry.author:
        return name
    return Name(name.verbatim, name.canonical, name.rank, entry.author, name.qualifier, name.problem, name.why)


def _row(entry: Entry, name: Name, verdict: Verdict, answer: Answer | None, source: str) -> dict:
    usage, lineage = verdict.usage, verdict.usage.lineage if verdict.label else {}
    return {
        "row": entry.row,
        "verbatimName": entry.name,
        "status": verdict.status,
        "label": verdict.label,
        "taxonID": usage.species_key if verdict.label else None,
        "scientificName": lineage.get("species"),
        "taxonRank": "species" if verdict.label else None,
        **{rank: lineage.get(rank) for rank in RANKS},
        "reason": verdict.reason,
        "source": source,
        "matchedName": usage and usage.canonical,
        "matchedRank": usage and usage.rank,
        "matchedStatus": usage and usage.status,
        "matchType": answer and answer.match_type,
        "confidence": answer and answer.confidence,
        "identificationQualifier": name.qualifier or None,
        "vernacularName": entry.vernacular,
        "hints": "; ".join(f"{rank}={value}" for rank, value in entry.hints.items()),
    }


def _tell(rows: Sequence[Mapping], review: Sequence[Mapping], classes: Sequence[Mapping], where: str | Path) -> None:
    """What a person should know before going on: names set aside, and names that turned out to be one species."""
    print(f"taxonomy: {len(rows)} names, {len(classes)} species, {len(review)} for review", file=sys.stderr)
    for row in review:
        print(f"  {row['verbatimName']!r}: {row['status']}. {row['reason']} See {where}.", file=sys.stderr)
    together = defaultdict(list)
    for row in rows:
        if row["label"]:
            together[row["scientificName"]].append(row["verbatimName"])
    for species, names in sorted(together.items()):
        if len(names) > 1:
            print(f"  {species}: one species for {', '.join(map(repr, names))}.", file=sys.stderr)
