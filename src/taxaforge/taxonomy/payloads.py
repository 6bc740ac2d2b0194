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
    if not isinstance(kind, str) or not _all_dicts(others):
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
        and all({"key", "name", "rank"} <= entry.keys() for entry in lineage)
    )


def _is_usage(usage: object) -> bool:
    return isinstance(usage, dict) and (not usage or ("key" in usage and isinstance(usage.get("name"), str)))


def _all_dicts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)
