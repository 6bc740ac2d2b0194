"""One picture from somewhere on the web: its bytes, or one word for why not.

Hosts are strangers: they answer with web pages named .jpg, half files, bombs, redirects in circles,
or not at all. Nothing is believed before it has been decoded.
"""

import io
import ipaddress
import socket
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urljoin, urlsplit

import requests
from PIL import Image, UnidentifiedImageError

from taxaforge.taxonomy.transport import LONGEST_WAIT_S, retry_after

LARGEST_BYTES = 30 * 2**20
LARGEST_PIXELS = 80_000_000
MOST_REDIRECTS = 5
TRIES = 4
FIRST_PAUSE_S = 0.5
"""Before the second try; doubled before each further one, unless the host says how long to wait."""

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")
TRANSIENT = frozenset(
    {"http_408", "http_425", "http_429", "http_500", "http_502", "http_503", "http_504", "timeout", "connection"}
)
"""Error codes after which the same address is worth another try."""


class Downloader:
    """`content, error = get(url)`: exactly one of them is empty.

    agent: User-Agent. timeout_s: longest time for one attempt, and longest silence. local: addresses of this
    machine and of private networks may be asked; else they are refused, for the addresses come from strangers.
    """

    def __init__(self, agent: str, timeout_s: float, local: bool = False, sleep: Callable[[float], None] = time.sleep):
        self.timeout_s, self.local, self.sleep = timeout_s, local, sleep
        self.session = requests.Session()
        self.session.headers["User-Agent"] = agent

    def get(self, url: str) -> tuple[bytes, str]:
        """The bytes of a picture that decodes whole, or b"" and an error code."""
        error = ""
        for attempt in range(TRIES):
            content, error, asked = self._attempt(url)
            if error not in TRANSIENT or attempt + 1 == TRIES:
                break
            wait = FIRST_PAUSE_S * 2**attempt if asked is None else asked
            if wait > LONGEST_WAIT_S:
                break
            self.sleep(wait)
        return (b"", error) if error else (content, "")

    def _attempt(self, url: str) -> tuple[bytes, str, float | None]:
        """(bytes, error code, seconds the host asks to wait)"""
        until = time.monotonic() + self.timeout_s
        try:
            for _ in range(MOST_REDIRECTS + 1):
                if refused := self._refused(url):
                    return b"", refused, None
                with self.session.get(
                    url, stream=True, allow_redirects=False, timeout=(min(5.0, self.timeout_s), self.timeout_s)
                ) as response:
                    if response.is_redirect:
                        url = urljoin(url, response.headers["Location"])
                        continue
                    if response.status_code != 200:
                        wait = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
                        return b"", f"http_{response.status_code}", wait
                    content, error = _body(response, until)
                    return content, error or flaw(content), None
            return b"", "too_many_redirects", None
        except requests.Timeout:
            return b"", "timeout", None
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return b"", "connection", None
        except (requests.RequestException, ValueError):
            return b"", "bad_address", None

    def _refused(self, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return "bad_address"
        if self.local:
            return ""
        try:
            found = socket.getaddrinfo(parts.hostname, parts.port or 443, proto=socket.IPPROTO_TCP)
        except (OSError, UnicodeError):
            return "connection"
        return "" if all(ipaddress.ip_address(entry[4][0]).is_global for entry in found) else "private_address"


def _body(response: requests.Response, until: float) -> tuple[bytes, str]:
    """The body, read piece by piece so that neither size nor patience is without end."""
    out = bytearray()
    for piece in response.iter_content(65536):
        out += piece
        if len(out) > LARGEST_BYTES:
            return b"", "too_large"
        if time.monotonic() > until:
            return b"", "timeout"
    return bytes(out), ""


def flaw(content: bytes) -> str:
    """What is wrong with these bytes as a picture: empty_file, not_an_image, too_many_pixels, broken_image; "" if nothing.

    The size is read from the header before anything is decoded, so that a bomb stays packed.
    """
    if not content:
        return "empty_file"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # we have our own limit
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.width * image.height > LARGEST_PIXELS:
                    return "too_many_pixels"
                image.load()
    except UnidentifiedImageError:
        return "not_an_image"
    except Image.DecompressionBombError:
        return "too_many_pixels"
    except (OSError, SyntaxError, ValueError, EOFError):  # what decoders raise on damaged files
        return "broken_image"
    return ""
