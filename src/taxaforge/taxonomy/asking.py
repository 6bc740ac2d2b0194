"""Each distinct question once, to whoever the settings name; unknown is kept apart from nonexistent."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from taxaforge.errors import TaxaforgeError
from taxaforge.progress import Progress
from taxaforge.taxonomy.answers import Answer
from taxaforge.taxonomy.failures import BadPayload, GbifError, NewRelease, RateLimited, Rejected, Unavailable
from taxaforge.taxonomy.hints import tidy
from taxaforge.taxonomy.keys import CHECKLISTS
from taxaforge.taxonomy.names import Name
from taxaforge.taxonomy.sources import archive, gbif, listed, snapshot
from taxaforge.taxonomy.taxa_list import Entry

GIVE_UP_AFTER = 5
"""Questions in a row that find the service out of order, after which it counts as down and is left in peace."""

REFUSED_AT_MOST = 200
"""Refusals in a row after which nothing more is asked: so many bad names do not follow each other, we are not welcome."""

HOPELESS = "Asking again will not help: correct or delete this name."
"""What a failure says where the name is the reason, not the service."""

Ask = Callable[[Name, Mapping[str, str]], Answer]
Question = tuple[str, str, tuple[tuple[str, str], ...], str, bool]
"""Canonical name, author, tidied hints, rank marker, and whether it is doubtful: what an answer depends on."""


class NamesNotAnswered(TaxaforgeError):
    """The name service gave no answer for some names: unknown is not the same as nonexistent."""

    def __init__(self, reasons: Mapping[str, str], of: int, rows: int, offline: bool = False):
        """reasons: name -> why. of: rows of the list. rows: how many of them have no answer."""
        self.reasons = dict(reasons)
        first = sorted(reasons.items(), key=lambda pair: HOPELESS not in pair[1])  # those that a person must see to
        shown = "; ".join(f"{name!r} (transport_error: {why})" for name, why in first[:5])
        more = f"; and {len(reasons) - 5} more" if len(reasons) > 5 else ""
        remedy = _remedy(sum(HOPELESS in why for why in reasons.values()), len(reasons), offline)
        super().__init__(
            f"{rows} of {of} names got no answer from the name service, {of - rows} did: {shown}{more}. "
            f"Nothing is written, so that no name is lost by accident. {remedy}"
        )


def _remedy(refused: int, of: int, offline: bool) -> str:
    """What to do. refused: names that were refused themselves. of: names without an answer."""
    if offline:
        return (
            "`taxonomy.offline` is set, so nobody was asked. Run once without it, or give `network.store` the folder that "
            "holds the answers."
        )
    names = (
        f"The service refuses {refused} of these names: correct or delete them in the list. Should it refuse every name, "
        "look at GBIF_API_BASE and `network.contact`."
    )
    wait = "Run the same command again when the service is back, and only the rest is asked. Or set `taxonomy.source: snapshot`."
    return " ".join(["What was answered is kept.", *[names] * bool(refused), *[wait] * (refused < of)])


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

    All answers are of one release: where it turns out on the way that the service has another than the store, all
    questions are gone through once more, under that one.
    patient: goes on however many have no answer (nobody is bothered by asking a store).
    """
    try:
        return _in_order(questions, ask, label, patient)
    except NewRelease:
        print(f"{label}: the service has a new release; older answers are asked for anew", file=sys.stderr)
        return _in_order(questions, ask, label, patient)


def _in_order(
    questions: Mapping[Question, Name], ask: Ask, label: str, patient: bool
) -> tuple[dict[Question, Answer], dict[Question, GbifError]]:
    answers: dict[Question, Answer] = {}
    failures: dict[Question, GbifError] = {}
    progress, down, refused = Progress(label, len(questions), "names"), 0, 0
    for done, key in enumerate(sorted(questions), 1):
        if down >= GIVE_UP_AFTER and not patient:
            failures[key] = GbifError("Not asked: the service was down.")
            continue
        if refused >= REFUSED_AT_MOST and not patient:
            failures[key] = GbifError(f"Not asked: the service refused {refused} names in a row.")
            continue
        try:
            answers[key] = ask(questions[key], dict(key[2]))
            down = refused = 0
        except NewRelease:
            raise
        except (Unavailable, RateLimited) as error:
            failures[key] = error
            down += 1
        except (Rejected, BadPayload) as error:  # the service is well, this name is not
            failures[key] = type(error)(f"{error} {HOPELESS}")
            down, refused = 0, refused + 1
        except GbifError as error:
            failures[key] = error
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
