"""Where and when a picture was taken, as far as a split may rely on it."""

import math
import re
from calendar import monthrange
from collections.abc import Mapping

KM_PER_DEGREE = 6371.0088 * math.pi / 180
"""Length of a degree of latitude, of the sphere of mean radius (IUGG)."""

WITHHELD = re.compile("coord|koord|coörd|latitu|georef|locali|location|ubicac|fundort|standort|vindplaats|lieu")
"""In `informationWithheld`: the publisher blurred or hid where it was. The stems of the words in the languages that
publishers write. A word too many costs a picture its place in the test, a word too few would cost the test its distance."""


def block(row: Mapping, side_km: float) -> tuple[int, int] | None:
    """The square of a grid over the globe that a picture was taken in; None where nobody can say.

    Rows of squares run along the parallels. Each row is cut into a whole number of squares as close to
    `side_km` wide in its middle as that allows, so squares are alike in size at every latitude and the
    antimeridian is no gap.

    None for coordinates that are missing, impossible or exactly 0, 0 (a database's way of saying
    missing), where the publisher withheld the exact place, and where the circle of uncertainty is not
    whole within the square: such a picture may have been taken next door. A missing uncertainty, or
    one of 0, is taken for none: the point is exact, as far as its publisher says.
    """
    latitude, longitude = row["decimalLatitude"], row["decimalLongitude"]
    if latitude is None or longitude is None or not (abs(latitude) <= 90 and abs(longitude) <= 180):  # NaN included
        return None
    if latitude == longitude == 0 or WITHHELD.search((row["informationWithheld"] or "").casefold()):
        return None
    step = side_km / KM_PER_DEGREE
    north = int((latitude + 90) / step)
    middle = min((north + 0.5) * step - 90, 90)
    around = max(1, round(360 * math.cos(math.radians(middle)) / step))
    east = (longitude + 180) / 360 * around
    radius = row["coordinateUncertaintyInMeters"] or 0.0
    if radius and not 0 < radius / 1000 <= _free(latitude, north, east, step, around) * KM_PER_DEGREE:  # NaN included
        return None
    return north, int(east) % around


def _free(latitude: float, north: int, east: float, step: float, around: int) -> float:
    """Degrees of arc from a place to the nearest edge of its square.

    north: number of the row. east: place along the row in squares, from the antimeridian. step: height
    of a row in degrees. A row of one square, which only the northernmost can be, has no edge at the pole
    or along meridians; in the others a meridian is always nearer than the pole.
    """
    south_edge, north_edge = north * step - 90, (north + 1) * step - 90
    edges = [latitude - south_edge]
    if north_edge < 90:
        edges.append(north_edge - latitude)
    if around > 1:
        away = (
            min(east % 1, 1 - east % 1) * 360 / around
        )  # in longitude: 90 at most, so a right angle meets the meridian
        edges.append(math.degrees(math.asin(math.cos(math.radians(latitude)) * math.sin(math.radians(away)))))
    return min(edges)


_DAY = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:Z|[+-]\d\d:\d\d)?)?)?(?:T.*)?", re.ASCII)
_BLANK = re.compile(r"\s*(/)\s*|(?<=-\d\d) +(?=\d\d:)")


def days(date: str | None) -> tuple[str, str] | None:
    """First and last day, as ISO dates, of an ISO 8601 date, month, year, time or interval; None where unreadable.

    >>> days("2023-02")
    ('2023-02-01', '2023-02-28')
    >>> days("2022-12-30T10:00/2023-01-02")
    ('2022-12-30', '2023-01-02')
    """
    # A blank for the T before a time, and around the stroke: as many tables have it.
    start, _, end = _BLANK.sub(lambda found: found[1] or "T", (date or "").strip()).partition("/")
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
