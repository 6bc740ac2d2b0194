"""From the user's list to accepted species: asks once a name, judges each row, writes taxa, review and classes."""

import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from taxaforge import tables
from taxaforge.errors import TaxaforgeError
from taxaforge.files import write_json
from taxaforge.taxonomy import agreement, outcomes, taxa_list
from taxaforge.taxonomy.answers import Answer, Usage
from taxaforge.taxonomy.asking import NamesNotAnswered, Question, ask_source, question
from taxaforge.taxonomy.judge import Verdict, judge
from taxaforge.taxonomy.names import Name
from taxaforge.taxonomy.outcomes import Outcome
from taxaforge.taxonomy.overrides import Overrides
from taxaforge.taxonomy.schema import COLLISIONS, POLICY, PROVENANCE, REVIEW, TAXA
from taxaforge.taxonomy.taxa_list import Entry

SHOWN = 20
"""Names for review, and species of several names, that are told on the terminal; all are in the tables."""

Log = Callable[[int | None, dict[str, float]], None]


class NoSpecies(TaxaforgeError):
    """Not one name of the list became a species."""

    def __init__(self, found: Sequence[Outcome]):
        shown = "; ".join(f"{o.entry.name!r} ({o.verdict.status}: {o.verdict.reason})" for o in found[:5])
        more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        super().__init__(
            f"None of {len(found)} names has an accepted species: {shown}{more}. "
            "Correct the names, or ask another source: `taxonomy.source` and `taxonomy.checklist`."
        )


def resolve(
    *,
    taxa: str | Path,
    cfg: Mapping,
    network: Mapping | None,
    snapshot: str | Path | None = None,
    archive: str | Path | None = None,
    overrides: str | Path | None = None,
    out_taxa: str | Path,
    out_review: str | Path,
    out_classes: str | Path,
    out_collisions: str | Path,
    out_provenance: str | Path,
    out_ledger: str | Path,
    log: Log = lambda step, values: None,
) -> None:
    """Resolve a species list.

    Args:
        taxa: the user's table. snapshot, archive: the offline taxonomy, needed where cfg["source"] says so.
        cfg: section `taxonomy`. network: section `network` and "offline", needed for source gbif.
        overrides: decisions of a person, or nothing.
        out_taxa: table TAXA, a row for every name. out_review: table REVIEW, the names without a label
            and those whose override does not fit any more.
        out_classes: the distinct accepted species in the class order of the run.
        out_collisions: table COLLISIONS. out_provenance: table PROVENANCE. out_ledger: counts that reconcile.
        log: gets the counts: names, species, review and one `status_<status>` each.
    Raises: BadTaxaList, BadSnapshot, BadArchive, BadOverrides; NamesNotAnswered; NoSpecies;
        OneNameTwoSpecies. Nothing is written then.
    """
    entries, decisions = taxa_list.read(taxa), Overrides(overrides)
    names = [entry.parsed() for entry in entries]
    asked = [question(name, entry) for name, entry in zip(names, entries, strict=True)]
    questions = {key: name for name, key in sorted(zip(names, asked, strict=True), key=_verbatim) if key}
    source, answers, failures = ask_source(cfg, network, questions, snapshot, archive)
    if failures:
        pairs = zip(entries, asked, strict=True)
        lost = {entry.name: str(failures[key]) for entry, key in pairs if key in failures}
        rows = sum(key in failures for key in asked)
        raise NamesNotAnswered(lost, len(entries), rows, offline=bool(network and network["offline"]))
    found = [
        _outcome(entry, name, key, answers, cfg["accept"], decisions)
        for entry, name, key in zip(entries, names, asked, strict=True)
    ]
    decisions.check_used(entries)
    origins = outcomes.provenance(answers)
    del names, asked, questions, answers  # a long list needs the room for its tables
    if not any(outcome.label for outcome in found):
        raise NoSpecies(found)
    classes = outcomes.distinct_species(found)
    write_json(out_classes, classes)
    ledger = outcomes.ledger(found, len(classes))
    write_json(out_ledger, ledger)
    del classes
    review = [outcomes.review_row(outcome) for outcome in found if not outcome.label or outcome.flag]
    tables.write(REVIEW, review, out_review)
    tables.write(COLLISIONS, outcomes.collisions(found), out_collisions)
    tables.write(PROVENANCE, origins, out_provenance)
    tables.write(TAXA, (outcomes.taxa_row(outcome, source) for outcome in found), out_taxa)
    _tell(found, review, ledger["species"], out_review)
    counts = {f"status_{status}": n for status, n in ledger["statuses"].items()}
    log(None, {"names": len(found), "species": ledger["species"], "review": len(review)} | counts)


def _verbatim(pair: tuple[Name, Question | None]) -> str:
    return pair[0].verbatim


def _outcome(
    entry: Entry,
    name: Name,
    key: Question | None,
    answers: Mapping[str, Mapping[Question, Answer]],
    accept: Collection[str],
    decisions: Overrides,
) -> Outcome:
    """Judges one row by what was answered, and beside it what the other checklist answered."""
    (_, ours), *others = answers.items()
    answer = ours.get(key)
    decision = decisions.decide(entry, judge(name, entry.hints, answer or Answer()), answer, accept)
    usage = decision.verdict.usage
    lineage, filled, said, theirs = usage.lineage if decision.label else {}, "", None, None
    for checklist, found in others if key else ():
        theirs = _settles(judge(name, entry.hints, found[key]), accept)
        mine = usage if decision.label else _settles(Verdict(decision.computed, "", usage), accept)
        said = agreement.compare(mine, theirs)
        if decision.label and said == "agree":
            lineage, filled = agreement.filled(usage, theirs, entry.hints, checklist)
    return Outcome(
        entry,
        name,
        answer,
        decision.verdict,
        decision.computed,
        decision.label,
        decision.flag,
        lineage,
        filled,
        said,
        theirs,
    )


def _settles(verdict: Verdict, accept: Collection[str]) -> Usage | None:
    """The usage by which a verdict names one species, whether or not the policy of this run is stricter."""
    return verdict.usage if verdict.labelled({*POLICY, *accept}) else None


def _tell(found: Sequence[Outcome], review: Sequence[Mapping], species: int, where: str | Path) -> None:
    """What a person should know before going on: names set aside, and names that turned out to be one species."""
    print(f"taxonomy: {len(found)} names, {species} species, {len(review)} for review", file=sys.stderr)
    _list(f"{row['verbatimName']!r}: {row['status']}. {row['reason']} See {where}." for row in review)
    together = defaultdict(dict)
    for outcome in found:
        if outcome.label:
            together[outcome.species][outcome.entry.name] = None
    _list(
        f"{name}: one species for {', '.join(map(repr, written))}."
        for name, written in sorted(together.items())
        if len(written) > 1
    )
    otherwise = [outcome for outcome in found if outcome.label and outcome.verdict.differing]
    _list(f"{o.entry.name!r}: {o.species}, though classified differently: {o.verdict.differing}." for o in otherwise)
    differ = [outcome for outcome in found if outcome.label and outcome.agreement == "differ"]
    _list(f"{o.entry.name!r}: {o.species} here, {o.other.lineage['species']} in the other checklist." for o in differ)


def _list(lines: Iterable[str]) -> None:
    lines = list(lines)
    for line in lines[:SHOWN]:
        print(f"  {line}", file=sys.stderr)
    if len(lines) > SHOWN:
        print(f"  and {len(lines) - SHOWN} more", file=sys.stderr)
