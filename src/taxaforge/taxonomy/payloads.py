"""Whether a body is an answer at all: the least that every endpoint's answers have in common.

A gateway answers 200 with a message, a maintenance page, half of a record. Taken for an answer, such a
body would read as "no such name" or "no pictures"; so each is checked before anyone looks into it.
"""

from collections.abc import Mapping


def usable(path: str, body: object) -> bool:
    """Whether a decoded body has the shape that the endpoint at `path` answers with."""
    if path.endswith("/species/match"):
        return _is_match(body)
    if path.endswith("/species/match/metadata"):
        return isinstance(body, dict) and isinstance(body.get("mainIndex"), dict)
    if path.endswith("/occurrence/search"):
        return (
            isinstance(body, dict)
            and _all_dicts(body.get("results"))
            and isinstance(body.get("endOfRecords"), bool)
            and type(body.get("count", 0)) is int
            and all(_all_dicts(_or_none(record, "media")) for record in body["results"])
            and _all_dicts(_or_none(body, "facets"))
        )
    return isinstance(body, (dict, list)) and not (isinstance(body, dict) and set(body) == {"message"})


def says_something(path: str, body: object) -> bool:
    """Whether a usable body is worth keeping: an empty page today may be a full one tomorrow."""
    if not path.endswith("/occurrence/search"):
        return True
    return bool(body["results"] or any(facet.get("counts") for facet in body.get("facets") or ()))


def release_of(body: Mapping) -> str | None:
    """Release of a name index as its metadata tell: dataset in ChecklistBank and date of the build, as far as given.

    >>> release_of({"created": "2026-10-12T08:00:00", "mainIndex": {"clbDatasetKey": "316423"}})
    '316423 built 2026-10-12T08:00:00'
    """
    dataset, built = body["mainIndex"].get("clbDatasetKey"), body.get("created")
    return " ".join([str(dataset)] * bool(dataset) + [f"built {built}"] * bool(built)) or None


def _is_match(body: object) -> bool:
    if not isinstance(body, dict) or not isinstance(body.get("diagnostics"), dict):
        return False
    kind, others = body["diagnostics"].get("matchType"), body["diagnostics"].get("alternatives", [])
    if not _is_text(kind) or not _all_dicts(others) or not _is_number(body["diagnostics"].get("confidence", 0)):
        return False
    # No usage under a word that claims a match would read as "no such name".
    return bool(body.get("usage") or kind == "NONE") and all(map(_is_candidate, [body, *others]))


def _is_candidate(match: dict) -> bool:
    usage, accepted = match.get("usage") or {}, match.get("acceptedUsage") or {}
    lineage = match.get("classification", [])
    return (
        _is_usage(usage)
        and _is_usage(accepted)
        and _all_dicts(lineage)
        and all(_has_words(entry, ("key", "name", "rank")) for entry in lineage)
    )


def _is_usage(usage: object) -> bool:
    """Whether all that is read of a usage is text: a key and a name, and more where there is more."""
    if not isinstance(usage, dict):
        return False
    more = (usage[member] for member in ("canonicalName", "authorship", "rank", "status") if member in usage)
    whole = _has_words(usage, ("key", "name")) and all(map(_is_text, more))
    return not usage or (whole and not usage.get("canonicalName", "").isspace())


def _has_words(record: dict, members: tuple[str, ...]) -> bool:
    return all(_is_text(record.get(member)) and record[member].strip() for member in members)


def _is_text(value: object) -> bool:
    """Text that any table can hold; JSON may escape halves of a character."""
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _or_none(record: dict, member: str) -> object:
    """A list that may be missing or null."""
    value = record.get(member)
    return [] if value is None else value


def _all_dicts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)
