"""HTTPS as the repository needs it: one range of one file, bounded in bytes and in time.

What `requests` would do by itself and a hostile server would like is switched off: redirects,
proxies and passwords from the environment, cookies, compressed answers, other authorities.
"""

import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from agent.errors import FetchError, NotFoundError, UntrustedServerError
from agent.linux.repository import FetchLimits
from agent.linux.tls import client_context

HEAD_BYTES_MAX: Final = 256 * 1024
CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/(?:[0-9]{1,15}|\*)")
LENGTH: Final = re.compile(r"[0-9]{1,15}")
FOREIGN_ERRORS: Final = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError)
PARTIAL_CONTENT: Final = 206  # RFC 9110, section 15.3.7
MISSING: Final = (403, 404, 410)  # object stores answer 403 for what they do not have
RANGE_NOT_SATISFIABLE: Final = 416
OVERLOADED: Final = (429, 503)
WRAPPERS_MAX: Final = 8


class Meter:
    """Counts what arrives while the agent waits, and ends what is too slow or too long.

    A timeout between two bytes alone lets a server hold a device for days, one byte at a time.
    """

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._waited_s = 0.0
        self._received = 0
        self._head_left: int | None = None

    @contextmanager
    def head(self) -> Iterator[None]:
        """While the status line and the headers are read, which no length announces."""
        self._waited_s, self._received = 0.0, 0
        self._head_left = HEAD_BYTES_MAX
        try:
            yield
        finally:
            self._head_left = None

    def count(self, waited_s: float, received: int) -> None:
        """Note one read from the network. Raises `TimeoutError`, which ends the connection."""
        self._waited_s += waited_s
        self._received += received
        if self._head_left is not None:
            self._head_left -= received
            if self._head_left < 0:
                raise TimeoutError(f"headers of more than {HEAD_BYTES_MAX} bytes")
        if self._waited_s >= self._limits.window_s:
            if self._received < self._limits.bytes_per_s_min * self._waited_s:
                raise TimeoutError("too slow")
            self._waited_s, self._received = 0.0, 0


def metered_sockets(meter: Meter) -> type[ssl.SSLSocket]:
    """The class of sockets that report every read to this meter."""

    class MeteredSocket(ssl.SSLSocket):
        def recv_into(
            self,
            buffer: Any,  # noqa: ANN401  # any writable buffer; the standard library has no name for it
            nbytes: int | None = None,
            flags: int = 0,
        ) -> int:
            began_s = time.monotonic()
            received = super().recv_into(buffer, nbytes, flags)
            meter.count(time.monotonic() - began_s, received)
            return received

    return MeteredSocket


class FleetAdapter(HTTPAdapter):
    """Makes connections with our TLS settings, and never tries again by itself."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(max_retries=0)

    def init_poolmanager(
        self,
        connections: int,
        maxsize: int,
        block: bool = False,  # noqa: FBT001, FBT002  # the signature is requests'
        **options: Any,  # noqa: ANN401  # passed on as they come
    ) -> None:
        """Build the pool with our context."""
        options["ssl_context"] = self._context
        super().init_poolmanager(connections, maxsize, block, **options)


class HttpsSession:
    """Keeps the connections to the fleet's servers open between requests."""

    def __init__(self, authority: str, limits: FetchLimits) -> None:
        self._authority = authority
        self._limits = limits
        self._meter = Meter(limits)
        self._session: requests.Session | None = None

    def get(self, url: str, offset: int, length_max: int) -> "HttpsStream":
        """Ask for a range of a file and check what the headers promise. Raises `FetchError`."""
        session = self._opened()
        try:
            with self._meter.head():
                response = session.get(
                    url,
                    headers={"Range": f"bytes={offset}-{offset + length_max - 1}"},
                    stream=True,
                    timeout=(self._limits.connect_s, self._limits.gap_s),
                    allow_redirects=False,
                    verify=self._authority,
                )
        except requests.exceptions.SSLError as error:
            raise self._untrusted(url, error) from error
        except FOREIGN_ERRORS as error:
            raise FetchError(f"{url}: {self._explain(error)}") from error
        try:
            promised = promised_length(response, url, offset, length_max)
        except FetchError:
            response.close()
            raise
        return HttpsStream(response, url, promised, length_max, self._explain)

    def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _opened(self) -> requests.Session:
        if self._session is None:
            sockets = metered_sockets(self._meter)
            context = client_context(self._authority, sockets, UntrustedServerError)
            session = requests.Session()
            session.trust_env = False
            session.headers.clear()
            session.headers.update({"User-Agent": "lockgate", "Accept-Encoding": "identity"})
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            session.mount("https://", FleetAdapter(context))
            self._session = session
        return self._session

    def _untrusted(self, url: str, error: requests.exceptions.SSLError) -> UntrustedServerError:
        return UntrustedServerError(
            f"{url}: a server with a certificate from {self._authority} was expected; {_root(error)}. "
            f"Check [repository] in agent.toml, the server's certificate and this device's date"
        )

    def _explain(self, error: Exception) -> str:
        root = _root(error)
        if isinstance(root, TimeoutError):
            return (
                f"the server is too slow ({root}): an answer within {self._limits.gap_s:g} s and "
                f"{self._limits.bytes_per_s_min} bytes/s were expected; it will be tried again"
            )
        return f"the transfer failed ({root}); check the network and the server"


class HttpsStream:
    """The body of one answer, at most as long as asked for."""

    def __init__(
        self,
        response: requests.Response,
        url: str,
        promised: int | None,
        length_max: int,
        explain: Callable[[Exception], str],
    ) -> None:
        self._response = response
        self._url = url
        self._explain = explain
        self._promised = promised
        self._left = length_max if promised is None else min(length_max, promised)

    def read(self, length_max: int) -> bytes:
        """What arrives next; one read from the network at most, so that each has its deadline."""
        if self._left == 0:
            return b""
        try:
            piece: bytes = self._response.raw.read1(
                min(length_max, self._left), decode_content=False
            )
        except FOREIGN_ERRORS as error:
            self.close()
            raise FetchError(f"{self._url}: {self._explain(error)}") from error
        if not piece and self._promised is not None:
            self.close()
            raise FetchError(
                f"{self._url}: the answer ended {self._left} bytes before the length that it "
                f"announced; it will be tried again"
            )
        self._left = self._left - len(piece) if piece else 0
        if self._left == 0:
            self._finish()
        return piece

    def _finish(self) -> None:
        """Let urllib3 see the end of an answer that is complete, so that it keeps the connection."""
        headers = self._response.headers
        if self._promised is not None and headers.get("Content-Length") == str(self._promised):
            with suppress(*FOREIGN_ERRORS):  # all bytes are here; what fails now costs a connection
                self._response.raw.read1(1, decode_content=False)
        self.close()

    def close(self) -> None:
        """Give the connection back if the answer was read to its end, else close it."""
        self._left = 0
        self._response.close()


def promised_length(
    response: requests.Response, url: str, offset: int, length_max: int
) -> int | None:
    """How many bytes the headers announce, None when they do not. Raises `FetchError`.

    Whatever else a server puts there (a redirect, another range, an encoding) is refused.
    """
    _refuse_status(response, url)
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise FetchError(
            f"{url}: the bytes as they are were expected, encoding {encoding[:40]!r} found; "
            f"switch compression off for these files at the server"
        )
    if response.status_code == PARTIAL_CONTENT:
        return _partial_length(response, url, offset, length_max)
    if offset > 0:
        raise FetchError(
            f"{url}: bytes from {offset} on were expected, the whole file was offered; "
            f"the server must support range requests"
        )
    announced = response.headers.get("Content-Length", "")
    return int(announced) if LENGTH.fullmatch(announced) else None


def _refuse_status(response: requests.Response, url: str) -> None:
    status = response.status_code
    if status in MISSING:
        raise NotFoundError(f"{url}: the server has no such file (status {status})")
    if status in OVERLOADED:
        raise FetchError(f"{url}: the server is overloaded (status {status}); tried again later")
    if status == RANGE_NOT_SATISFIABLE:
        raise FetchError(
            f"{url}: the file at the server is shorter than expected (status {status})"
        )
    if 300 <= status < 400:
        place = response.headers.get("Location", "")[:200]
        raise FetchError(
            f"{url}: the file itself was expected, a redirect to {place!r} found, which is not "
            f"followed; put the final address into [repository] in agent.toml"
        )
    if status not in (200, PARTIAL_CONTENT):
        raise FetchError(f"{url}: status 200 or 206 was expected, {status} found")


def _partial_length(response: requests.Response, url: str, offset: int, length_max: int) -> int:
    stated = response.headers.get("Content-Range", "")
    found = CONTENT_RANGE.fullmatch(stated)
    if found is not None:
        start, last = int(found[1]), int(found[2])
        if start == offset and start <= last < offset + length_max:
            return last - start + 1
    raise FetchError(
        f"{url}: bytes {offset}-{offset + length_max - 1} were expected, {stated[:80]!r} found; "
        f"the server, or a cache before it, does not answer range requests rightly"
    )


def _root(error: BaseException) -> BaseException:
    """The error below the layers of `requests` and `urllib3`, which says what happened."""
    for _ in range(WRAPPERS_MAX):
        inner = (error.__cause__, getattr(error, "reason", None), *error.args)
        below = next((each for each in inner if isinstance(each, BaseException)), None)
        if below is None:
            break
        error = below
    return error
