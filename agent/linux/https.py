"""HTTPS as the repository needs it: one range of one file, bounded in bytes and in time.

The standard library's client does nothing by itself that a hostile server would like: it follows no
redirect, asks no proxy, keeps no cookie, takes nothing from the environment and unpacks nothing.
"""

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final, NamedTuple, Protocol, cast
from urllib.parse import urlsplit

from agent.errors import FetchError, NotFoundError, UntrustedServerError
from agent.linux.repository import FetchLimits
from agent.linux.tls import client_context

HEAD_BYTES_MAX: Final = 256 * 1024
RECEIVE_BYTES: Final = 192 * 1024
"""The kernel reserves twice as much for what has arrived and was not read, and does not let it grow.

It is lost when the power is cut. Left to itself the kernel takes megabytes from a server that is faster than
the device writes.
"""
READ_BYTES_MAX: Final = 512 * 1024
CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/(?:[0-9]{1,15}|\*)")
LENGTH: Final = re.compile(r"[0-9]{1,15}")
FOREIGN_ERRORS: Final = (HTTPException, OSError, ValueError)
PARTIAL_CONTENT: Final = 206  # RFC 9110, section 15.3.7
MISSING: Final = (403, 404, 410)  # object stores answer 403 for what they do not have
RANGE_NOT_SATISFIABLE: Final = 416
OVERLOADED: Final = (429, 503)


class Meter:
    """Counts what arrives while the agent waits, and ends what is too slow or too long.

    A timeout between two bytes alone lets a server hold a device for days, one byte at a time.
    """

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._waited_s = 0.0
        self._received = 0
        self._left: int | None = None
        self._excess = ""

    @contextmanager
    def head(self) -> Iterator[None]:
        """While the status line and the headers are read, which no length announces."""
        self._waited_s, self._received = 0.0, 0
        with self._bounded(HEAD_BYTES_MAX, f"headers of more than {HEAD_BYTES_MAX} bytes"):
            yield

    @contextmanager
    def body(self, length_bytes: int) -> Iterator[None]:
        """While so much content is read: what stands around its pieces, and behind them, has no length."""
        excess = f"much more than {length_bytes} bytes for so many of content"
        with self._bounded(2 * length_bytes + HEAD_BYTES_MAX, excess):
            yield

    @contextmanager
    def _bounded(self, bytes_max: int, excess: str) -> Iterator[None]:
        self._left, self._excess = bytes_max, excess
        try:
            yield
        finally:
            self._left = None

    def count(self, waited_s: float, received: int) -> None:
        """Note one read from the network. Raises `TimeoutError`, which ends the connection."""
        self._waited_s += waited_s
        self._received += received
        if self._left is not None:
            self._left -= received
            if self._left < 0:
                raise TimeoutError(self._excess)
        if self._waited_s >= self._limits.window_s:
            if self._received < self._limits.bytes_per_s_min * self._waited_s:
                raise TimeoutError("too slow")
            self._waited_s, self._received = 0.0, 0


def metered_sockets(meter: Meter) -> type[ssl.SSLSocket]:
    """The class of sockets that report every read to this meter."""

    class MeteredSocket(ssl.SSLSocket):
        def __del__(self) -> None:
            """A connection that was kept for another request ends with the command that kept it."""
            self.close()

        def recv_into(
            self,
            buffer: Any,  # noqa: ANN401  # any writable buffer; the standard library has no name for it
            nbytes: int | None = None,
            flags: int = 0,
        ) -> int:
            began_s = time.monotonic()
            assert not flags, "TLS knows none"
            # One layer less than `recv_into`, for each of tens of thousands of TLS records.
            received = cast("int", self.read(nbytes or len(buffer), buffer))
            meter.count(time.monotonic() - began_s, received)
            return received

    return MeteredSocket


class HttpsSession:
    """Keeps one connection to each of the fleet's servers open between requests."""

    def __init__(self, authority: str, limits: FetchLimits) -> None:
        self._authority = authority
        self._limits = limits
        self._meter = Meter(limits)
        self._context: ssl.SSLContext | None = None
        self._idle: dict[str, HTTPSConnection] = {}

    def get(self, url: str, offset: int, length_max: int) -> "HttpsStream":
        """Ask for a range of a file and check what the headers promise. Raises `FetchError`."""
        wanted = f"bytes={offset}-{offset + length_max - 1}"
        connection, response = self._asked(url, wanted)
        try:
            promised = promised_length(response, url, offset, length_max)
        except FetchError:
            connection.close()
            raise

        def ended(*, whole: bool) -> None:
            """A connection is asked again only when nothing of an answer can be left in it."""
            response.close()
            if whole and not response.will_close:
                self._idle[urlsplit(url).netloc] = connection
            else:
                connection.close()

        wire = Wire(self._meter.body, self._explain, ended)
        return HttpsStream(response, url, promised, length_max, wire)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._idle.values():
            connection.close()
        self._idle.clear()

    def _asked(self, url: str, wanted: str) -> tuple[HTTPSConnection, HTTPResponse]:
        """The answer's headers; a kept connection that the server has closed meanwhile is replaced."""
        try:
            kept = self._idle.pop(urlsplit(url).netloc, None)
            if kept is not None:
                try:
                    return kept, self._ask(kept, url, wanted)
                except (ConnectionError, HTTPException):
                    kept.close()
            connection = self._connected(url)
            return connection, self._ask(connection, url, wanted)
        except ssl.SSLError as error:
            raise self._untrusted(url, error) from error
        except FOREIGN_ERRORS as error:
            raise FetchError(f"{url}: {self._explain(error)}") from error

    def _connected(self, url: str) -> HTTPSConnection:
        parts = urlsplit(url)
        if self._context is None:
            sockets = metered_sockets(self._meter)
            self._context = client_context(self._authority, sockets, UntrustedServerError)
        connection = HTTPSConnection(
            parts.hostname or "", parts.port, timeout=self._limits.connect_s, context=self._context
        )
        try:
            connection.connect()
        except OSError:
            connection.close()
            raise
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        connection.sock.settimeout(self._limits.gap_s)
        return connection

    def _ask(self, connection: HTTPSConnection, url: str, wanted: str) -> HTTPResponse:
        try:
            connection.putrequest("GET", urlsplit(url).path, skip_accept_encoding=True)
            connection.putheader("User-Agent", "lockgate")
            connection.putheader("Accept-Encoding", "identity")
            connection.putheader("Range", wanted)
            connection.endheaders()
            with self._meter.head():
                return connection.getresponse()
        except FOREIGN_ERRORS:
            connection.close()
            raise

    def _untrusted(self, url: str, error: ssl.SSLError) -> UntrustedServerError:
        return UntrustedServerError(
            f"{url}: a server with a certificate from {self._authority} was expected; {error}. "
            f"Check [repository] in agent.toml, the server's certificate and this device's date"
        )

    def _explain(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return (
                f"the server is too slow ({error}): an answer within {self._limits.gap_s:g} s and "
                f"{self._limits.bytes_per_s_min} bytes/s were expected; it will be tried again"
            )
        return f"the transfer failed ({error}); check the network and the server"


class Ended(Protocol):
    """Takes the connection back; `whole` says that the answer was read to its end."""

    def __call__(self, *, whole: bool) -> None:
        """Keep it or close it."""
        ...


class Wire(NamedTuple):
    """What an answer needs of its session: around each read, for its errors, and at its end."""

    bounded: Callable[[int], AbstractContextManager[None]]
    explain: Callable[[Exception], str]
    ended: Ended


class HttpsStream:
    """The body of one answer, at most as long as asked for."""

    def __init__(
        self,
        response: HTTPResponse,
        url: str,
        promised: int | None,
        length_max: int,
        wire: Wire,
    ) -> None:
        self._response = response
        self._url = url
        self._wire = wire
        self._promised = promised
        self._left = length_max if promised is None else min(length_max, promised)
        self._is_all = self._left == promised
        self._is_open = True

    def read(self, length_max: int) -> bytes:
        """All of what was asked for up to a bound: a call for each TLS record costs as much as TLS does.

        Each read from the network below has its deadline, and the meter ends what is too slow.
        """
        if self._left == 0:
            return b""
        wanted = min(length_max, self._left, READ_BYTES_MAX)
        try:
            with self._wire.bounded(wanted):
                piece = self._response.read(wanted)
        except FOREIGN_ERRORS as error:
            self.close()
            raise FetchError(f"{self._url}: {self._wire.explain(error)}") from error
        if not piece and self._promised is not None:
            left = self._left
            self.close()
            raise FetchError(
                f"{self._url}: the answer ended {left} bytes before the length that it "
                f"announced; it will be tried again"
            )
        self._left = self._left - len(piece) if piece else 0
        if self._left == 0:
            told = self._response.getheader("Content-Length")
            self._end(whole=self._is_all and told == str(self._promised))
        return piece

    def close(self) -> None:
        """Stop fetching. A second call does nothing."""
        self._left = 0
        self._end(whole=False)

    def _end(self, *, whole: bool) -> None:
        if self._is_open:
            self._is_open = False
            self._wire.ended(whole=whole)


def promised_length(response: HTTPResponse, url: str, offset: int, length_max: int) -> int | None:
    """How many bytes the headers announce, None when they do not. Raises `FetchError`.

    Whatever else a server puts there (a redirect, another range, an encoding) is refused.
    """
    if len(set(response.headers.get_all("Content-Length", []))) > 1:
        raise FetchError(
            f"{url}: the transfer failed (two lengths were announced); check the server"
        )
    _refuse_status(response, url)
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise FetchError(
            f"{url}: the bytes as they are were expected, encoding {encoding[:40]!r} found; "
            f"switch compression off for these files at the server"
        )
    if response.status == PARTIAL_CONTENT:
        return _partial_length(response, url, offset, length_max)
    if offset > 0:
        raise FetchError(
            f"{url}: bytes from {offset} on were expected, the whole file was offered; "
            f"the server must support range requests"
        )
    announced = response.headers.get("Content-Length", "")
    return int(announced) if LENGTH.fullmatch(announced) else None


def _refuse_status(response: HTTPResponse, url: str) -> None:
    status = response.status
    if status in MISSING:
        raise NotFoundError(f"{url}: the server has no such file (status {status})")
    if status in OVERLOADED:
        raise FetchError(f"{url}: the server is overloaded (status {status}); tried again later")
    if status == RANGE_NOT_SATISFIABLE:
        raise NotFoundError(
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


def _partial_length(response: HTTPResponse, url: str, offset: int, length_max: int) -> int:
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
