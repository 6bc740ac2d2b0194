"""Why a service gave no answer, by what can be done about it. None of these ever means that there is no such name."""

from taxaforge.errors import TaxaforgeError


class GbifError(TaxaforgeError):
    """No answer. This never means that there is no such name."""


class Rejected(GbifError):
    """4xx: asking again will not help."""


class RateLimited(GbifError):
    """429 outlasted every try, or the server asked for a very long wait."""


class Unavailable(GbifError):
    """5xx, reset or timeout outlasted every try."""


class BadPayload(GbifError):
    """Status 200, but not an answer."""


class NoJson(BadPayload, Unavailable):
    """Status 200, and every try brought a page for people or half a body: the service is out of order."""


class NotStored(GbifError):
    """Offline, and nobody asked this before."""


class NewRelease(GbifError):
    """The service has another release than the answers that this session took from the store so far.

    The session knows the release from here on: whoever asks all questions again gets answers of that one only.
    """


class WrongPygbif(TaxaforgeError):
    """Another pygbif than the one this code was written for."""
