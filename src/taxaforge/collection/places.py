"""Where and when a picture was taken, as far as a split may rely on it."""

import math
import re
from calendar import monthrange
from collections.abc import Mapping

KM_PER_DEGREE = 6371.0088 * math.pi / 180
"""Length of a degree of latitude, of the sphere of mean radius (IUGG)."""


def block(row: Mapping, side_km: float) -> tuple[int, int] | None:
    """The square of a grid over the globe that a picture was taken in; None where nobody can say.

    Rows of squares run along the parallels. Each row is cut into a whole number of squares as close to
    `side_km` wide in its middle as that allows, so squares are alike in size at every latitude and the
    antimeridian is no gap.

    None for coordinates that are missing, impossible or exactly 0, 0 (a database's way of saying
    missing), and where the uncertainty exceeds the side: such a point may lie in any of several squares.
    """
    latitude, longitude = row["decimalLatitude"], row["decimalLongitude"]
    if latitude is None or longitude is None or not (abs(latitude) <= 90 and abs(longitude) <= 180):  # NaN included
        return None
    if latitude == longitude == 0 or (row["coordinateUncertaintyInMeters"] or 0) > side_km * 1000:
        return None
    step = side_km / KM_PER_DEGREE
    north = int((latitude + 90) / step)
    middle = min((north + 0.5) * step - 90, 90)
    around = max(1, round(360 * math.cos(math.radians(middle)) / step))
    return north, int((longitude + 180) / 360 * around) % around


_DAY = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?(?:T.*)?")


def days(date: str | None) -> tuple[str, str] | None:
    """First and last day, as ISO dates, of an ISO 8601 date, month, year, time or interval; None where unreadable.

    >>> days("2023-02")
    ('2023-02-01', '2023-02-28')
    >>> days("2022-12-30T10:00/2023-01-02")
    ('2022-12-30', '2023-01-02')
    """
    start, _, end = (date or "").strip().partition("/")
    day = start.partition("T")[0]
    if ":" in end and "-" not in end.partition("T")[0]:  # another time of the same day
        end = day
    elif len(end) < len(day) and "T" not in end:  # a shortened end: what is left out is as in the start
        end = day[: len(day) - len(end)] + end
    first, last = _ends(start), _ends(end or start)
    return (first[0], last[1]) if first and last and first[0] <= last[1] else None


def _ends(text: str) -> tuple[str, str] | None:
    if not (match := _DAY.fullmatch(text)):
        return None
    year, month, day = match.groups()
    first, last = int(month or 1), int(month or 12)
    if not 1 <= first <= 12 or int(year) == 0:
        return None
    length = monthrange(int(year), last)[1]
    if day and not 1 <= int(day) <= length:
        return None
    return f"{year}-{first:02d}-{day or '01'}", f"{year}-{last:02d}-{day or length}"
