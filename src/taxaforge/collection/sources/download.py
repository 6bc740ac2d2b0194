"""One request to somewhere on the web: what it gave, or one word for why not.

Hosts are strangers: they answer with web pages named .jpg, half files, bombs, redirects into somebody's
network, drop by drop, or not at all. Nothing is believed before it has been decoded, and only addresses
that were checked are connected to.
"""

import ipaddress
import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import requests
import urllib3
from requests.adapters import HTTPAdapter

from taxaforge.collection.pictures import LARGEST_BYTES, LONGEST_MAGIC, extension_of, flaw
from taxaforge.taxonomy.transport import retry_after

TRANSIENT = frozenset(
    {"http_408", "http_425", "http_429", "http_500", "http_502", "http_503", "http_504", "timeout", "connection"}
)
"""Error codes after which the same address is worth another try."""

PASSING = TRANSIENT | {"bad_certificate"}
"""Error codes after which another day may be worth another try."""

SILENT = frozenset({"timeout", "connection"})
"""Those of them that an outage of one's own network would look like, too."""

PATIENCE = 4
"""A whole picture may take this many times the longest silence."""

NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""Where networks without IPv4 find the hosts of the old internet; the last 32 bits are the address meant."""

PROTOCOL_ASSIGNMENTS = ipaddress.ip_network("192.0.0.0/24")
"""Not the open internet, though Python takes parts of it for that."""

LONGEST_ADDRESS = 4096
LONGEST_CONNECT_S = 5.0


@dataclass(frozen=True)
class Reply:
    """What one request gave: content of a picture that decodes, or unchanged (the version named is still right),
    or location (where a redirect points), or error (a code).

    wait: seconds that the host asks to wait. answered: the host said something, whatever it was.
    """

    content: bytes = b""
    unchanged: bool = False
    location: str = ""
    error: str = ""
    wait: float | None = None
    answered: bool = True
    etag: str | None = None
    lastModified: str | None = None


class PrivateAddress(Exception):
    """A host's name leads into this machine or a private network."""


def is_public(address: str) -> bool:
    """Whether an IP address lies in the open internet: no loopback, private, link-local, multicast or reserved range.

    >>> is_public("8.8.8.8"), is_public("169.254.169.254"), is_public("::ffff:127.0.0.1")
    (True, False, False)
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if found.version == 6:
        translated = ipaddress.IPv4Address(found.packed[-4:]) if found in NAT64 else None
        found = found.ipv4_mapped or found.sixtofour or translated or found
    if (found.version == 6 and found.is_site_local) or found in PROTOCOL_ASSIGNMENTS:
        return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def public_addresses(host: str, port: int) -> list[str]:
    """The addresses of a host. Raises: PrivateAddress where one of them is not public; OSError where there are none."""
    found = [entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not all(map(is_public, found)):
        raise PrivateAddress(host)
    return found


class _Pinned:
    """A connection to the very address that was checked: asked twice, a name server may answer differently."""

    def _new_conn(self) -> socket.socket:
        failure: OSError | None = None
        try:
            for address in public_addresses(self.host, self.port):
                try:
                    made = socket.create_connection((address, self.port), self.timeout)
                    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    return made
                except OSError as error:
                    failure = error
        except (OSError, UnicodeError) as error:  # a name without address
            failure = OSError(str(error))
        raise urllib3.exceptions.NewConnectionError(self, str(failure))


class _Patient:
    """Headers have an end, too: a host that drips them byte by byte would hold a thread for ever."""

    def getresponse(self):
        late = threading.Event()

        def cut() -> None:
            late.set()
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

        watch = threading.Timer(PATIENCE * self.timeout, cut)
        watch.daemon = True
        watch.start()
        try:
            response = super().getresponse()
        except Exception as error:
            if late.is_set():
                raise TimeoutError(SLOW_HEADERS) from error
            raise
        finally:
            watch.cancel()
        if late.is_set():  # cut in the middle, what came looked like all headers
            raise TimeoutError(SLOW_HEADERS)
        return response


SLOW_HEADERS = "the headers took too long"


class _HTTP(_Patient, urllib3.connection.HTTPConnection):
    pass


class _HTTPS(_Patient, urllib3.connection.HTTPSConnection):
    pass


class _PinnedHTTP(_Pinned, _HTTP):
    pass


class _PinnedHTTPS(_Pinned, _HTTPS):
    pass


def _pools(http: type, https: type) -> dict[str, type]:
    plain = type("HTTPPool", (urllib3.HTTPConnectionPool,), {"ConnectionCls": http})
    return {"http": plain, "https": type("HTTPSPool", (urllib3.HTTPSConnectionPool,), {"ConnectionCls": https})}


class _Careful(HTTPAdapter):
    """Connects to public addresses only, unless private ones are allowed. A proxy of the environment looks names up
    itself and must guard itself."""

    def __init__(self, private: bool):
        self.pools = _pools(_HTTP, _HTTPS) if private else _pools(_PinnedHTTP, _PinnedHTTPS)
        super().__init__()

    def init_poolmanager(self, *args, **options) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self.pools


def open_session(agent: str, private: bool = False) -> requests.Session:
    """Connections of one thread, kept open. agent: User-Agent. private: addresses of private networks may be asked, too."""
    session = requests.Session()
    session.headers.update({"User-Agent": agent, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"})
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    session.mount("http://", _Careful(private))
    session.mount("https://", _Careful(private))
    return session


def ask(
    session: requests.Session,
    url: str,
    timeout_s: float,
    etag: str | None = None,
    last_modified: str | None = None,
    private: bool = False,
) -> Reply:
    """One request; redirects are not followed.

    Args:
        session: from `open_session`, with the same `private`.
        timeout_s: longest silence; the whole picture may take PATIENCE times that.
        etag, last_modified: of the version that is here already; the reply is `unchanged` where it is still right.
    """
    if refused := _refused(url, private):
        return Reply(error=refused)
    until = time.monotonic() + PATIENCE * timeout_s
    known = {"If-None-Match": etag, "If-Modified-Since": last_modified}
    answered = False
    try:
        with session.get(
            url,
            headers={name: value for name, value in known.items() if value},
            stream=True,
            allow_redirects=False,
            timeout=(min(LONGEST_CONNECT_S, timeout_s), timeout_s),
        ) as response:
            answered = True
            return _read(response, url, until, any(known.values()))
    except PrivateAddress:
        return Reply(error="private_address")
    except (requests.Timeout, urllib3.exceptions.TimeoutError):
        return Reply(error="timeout", answered=answered)
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema):
        return Reply(error="bad_address")
    except requests.exceptions.SSLError as error:
        return Reply(
            error="bad_certificate" if "CERTIFICATE_VERIFY_FAILED" in str(error) else "connection", answered=answered
        )
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError):  # reset, refused, a body that breaks off
        return Reply(error="connection", answered=answered)
    except ValueError:  # an address that no part of the library could read
        return Reply(error="bad_address")


def _read(response: requests.Response, url: str, until: float, conditional: bool) -> Reply:
    headers, status = response.headers, response.status_code
    if response.is_redirect:
        return Reply(location=urljoin(url, headers["Location"]))
    if status not in (200, 304):
        return Reply(error=f"http_{status}", wait=retry_after(headers.get("Retry-After"), datetime.now(UTC)))
    if re.search(r"\bno(image)?ai\b", headers.get("X-Robots-Tag", ""), re.IGNORECASE):
        return Reply(error="robots_noai")
    if status == 304:
        return Reply(unchanged=True) if conditional else Reply(error="http_304")
    content, error = _body(response, until)
    error = error or flaw(content)
    return Reply(
        content=b"" if error else content,
        error=error,
        etag=_short(headers.get("ETag")),
        lastModified=_short(headers.get("Last-Modified")),
    )


def _body(response: requests.Response, until: float) -> tuple[bytes, str]:
    """The body as it arrives, so that size and time have an end; broken off where it does not begin like a picture."""
    out = bytearray()
    while piece := response.raw.read1(65536, decode_content=True):
        out += piece
        if len(out) > LARGEST_BYTES:
            return b"", "too_large"
        if len(out) >= LONGEST_MAGIC and extension_of(bytes(out[:LONGEST_MAGIC])) is None:
            return b"", "not_an_image"
        if time.monotonic() > until:
            return b"", "timeout"
    return bytes(out), ""


def _refused(url: str, private: bool) -> str:
    """What the address itself says against asking it; "" where nothing does."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "bad_address"
    if parts.scheme not in ("http", "https") or not host or len(url) > LONGEST_ADDRESS:
        return "bad_address"
    if private:
        return ""
    try:
        return "" if is_public(host) else "private_address"
    except ValueError:  # a name, looked up when the connection is made
        return "private_address" if host == "localhost" or host.endswith(".localhost") else ""


def _short(header: str | None) -> str | None:
    return header if header and len(header) <= 1000 else None


def reachable(base: str, timeout_s: float) -> bool:
    """Whether the host of `base`, or the proxy before it, takes a connection: is one's own network there at all?"""
    parts = urlsplit(base)
    proxy = None if proxy_bypass(parts.hostname) else getproxies().get(parts.scheme)
    to = urlsplit(proxy) if proxy else parts
    try:
        socket.create_connection((to.hostname, to.port or {"https": 443}.get(to.scheme, 80)), timeout_s).close()
    except OSError:
        return False
    return True
