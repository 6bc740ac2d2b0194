"""Each distinct question once, to whoever the settings name; unknown is kept apart from nonexistent."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from taxaforge.errors import TaxaforgeError
from taxaforge.progress import Progress
from taxaforge.taxonomy.answers import Answer
from taxaforge.taxonomy.hints import tidy
from taxaforge.taxonomy.keys import CHECKLISTS
from taxaforge.taxonomy.names import Name
from taxaforge.taxonomy.sources import archive, gbif, listed, snapshot
from taxaforge.taxonomy.taxa_list import Entry
from taxaforge.taxonomy.transport import GbifError

GIVE_UP_AFTER = 5
"""Questions in a row without an answer after which the service counts as down and is left in peace."""

Ask = Callable[[Name, Mapping[str, str]], Answer]
Question = tuple[str, str, tuple[tuple[str, str], ...], str, bool]
"""Canonical name, author, tidied hints, rank marker, and whether it is doubtful: what an answer depends on."""


class NamesNotAnswered(TaxaforgeError):
    """The name service gave no answer for some names: unknown is not the same as nonexistent."""

    def __init__(self, reasons: Mapping[str, str], of: int, rows: int, offline: bool = False):
        """reasons: name -> why. of: rows of the list. rows: how many of them have no answer."""
        self.reasons = dict(reasons)
        shown = "; ".join(f"{name!r} (transport_error: {why})" for name, why in list(reasons.items())[:5])
        more = f"; and {len(reasons) - 5} more" if len(reasons) > 5 else ""
        remedy = (
            "`taxonomy.offline` is set, so nobody was asked. Run once without it, or give `network.store` the folder "
            "that holds the answers."
            if offline
            else "What was answered is kept: run the same command again when the service is back, and only the rest is asked. "
            "Or set `taxonomy.source: snapshot`."
        )
        super().__init__(
            f"{rows} of {of} names got no answer from the name service, {of - rows} did: {shown}{more}. "
            f"Nothing is written, so that no name is lost by accident. {remedy}"
        )


def question(name: Name, entry: Entry) -> Question | None:
    """What is asked for a row; None where nothing is."""
    if name.problem:
        return None
    return name.canonical, name.author, _tidied(tuple(entry.hints.items())), name.marker, bool(name.qualifier)


@lru_cache(maxsize=10_000)
def _tidied(hints: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Lists repeat a few classifications many times."""
    return tuple(tidy(dict(hints)).items())


def other_checklist(checklist: str) -> str:
    return next(other for other in CHECKLISTS if other != checklist)


def ask_source(
    cfg: Mapping,
    network: Mapping | None,
    questions: Mapping[Question, Name],
    table: str | Path | None,
    checklist_file: str | Path | None,
) -> tuple[str, dict[str, dict[Question, Answer]], dict[Question, GbifError]]:
    """Everything that is to be asked.

    Args: cfg: section taxonomy. network: section network, for source gbif. table: the snapshot.
        checklist_file: the archive.
    Returns: who was asked, as column `source` says it; checklist -> question -> answer, the label's
        authority first; the questions that one of the checklists gave no answer to, and why.
    """
    if cfg["source"] != "gbif":
        with _local(cfg["source"], table, checklist_file, questions.values()) as ask:
            answers, failures = ask_all(questions, ask)
        return cfg["source"], {cfg["source"]: answers}, failures
    ours, offline = cfg["checklist"], bool(network["offline"])
    found: dict[str, dict[Question, Answer]] = {}
    lost: dict[Question, GbifError] = {}
    for checklist in [ours, *([other_checklist(ours)] if cfg["cross_check"] else [])]:
        with gbif.session(checklist, network) as ask:
            found[checklist], failures = ask_all(questions, ask, checklist, patient=offline)
        lost = failures | lost
        if questions and not found[checklist]:
            break  # down: the other checklist is the same service
    return ours, found, lost


def ask_all(
    questions: Mapping[Question, Name], ask: Ask, label: str = "names", patient: bool = False
) -> tuple[dict[Question, Answer], dict[Question, GbifError]]:
    """One question each, in alphabetical order whatever the order of the list: answers, and what got none.

    patient: goes on however many have no answer (nobody is bothered by asking a store).
    """
    answers: dict[Question, Answer] = {}
    failures: dict[Question, GbifError] = {}
    progress, in_a_row = Progress(label, len(questions), "names"), 0
    for done, key in enumerate(sorted(questions), 1):
        if in_a_row >= GIVE_UP_AFTER and not patient:
            failures[key] = GbifError("Not asked: the service was down.")
            continue
        try:
            answers[key] = ask(questions[key], dict(key[2]))
            in_a_row = 0
        except GbifError as error:
            failures[key] = error
            in_a_row += 1
        progress(done)
    return answers, failures


@contextmanager
def _local(source: str, table: str | Path | None, checklist: str | Path | None, names: Iterable[Name]) -> Iterator[Ask]:
    """A source on this machine."""
    if source == "list":
        yield listed.ask
    elif source == "archive":
        if not checklist:
            raise TaxaforgeError("`taxonomy.source` is archive, but `taxonomy.archive` names no file.")
        yield archive.load(checklist, names)
    else:
        if not table:
            raise TaxaforgeError("`taxonomy.source` is snapshot, but `taxonomy.snapshot` names no file.")
        yield snapshot.load(table)
