"""`Repository` on Linux: static files over HTTPS, from the first of the fleet's servers that answers.

The process that waits for notices must stay small, so what speaks HTTPS is imported at the first
`open`.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from agent.errors import FetchError, NotFoundError

if TYPE_CHECKING:
    from agent.linux.https import HttpsSession, HttpsStream

PATH_PART: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,255}")
PATH_PARTS_MAX: Final = 8


class Servers(Protocol):
    """The fleet's servers, in the order in which they are tried; `RepositorySettings` are these."""

    @property
    def urls(self) -> tuple[str, ...]:
        """Their addresses."""
        ...

    @property
    def authority(self) -> str:
        """The file with the only authority that is believed."""
        ...


class FetchLimits(NamedTuple):
    """How long a server may take: to connect, between two pieces, and on average.

    The rate is judged over the time spent waiting for the server, never over the time that the
    device itself needs between two reads.
    """

    connect_s: float = 10.0
    gap_s: float = 30.0
    window_s: float = 60.0
    bytes_per_s_min: int = 1024


class HttpsRepository:
    """The fleet's servers, tried in the configured order; one that fails gives way to the next.

    Raises `FetchError`: `NotFoundError` when every server says that there is no such file,
    `UntrustedServerError` when a certificate is not from the fleet's authority.
    """

    def __init__(self, settings: Servers, limits: FetchLimits | None = None) -> None:
        self._settings = settings
        self._limits = limits or FetchLimits()
        self._preferred = 0
        self._session: HttpsSession | None = None

    def open(self, path: str, offset: int, length_max: int) -> "MirrorStream":
        """The bytes of a file from offset on, at most `length_max`, as any one server has them."""
        assert offset >= 0, "an offset counts from the start"
        assert length_max > 0, "asking for nothing needs no server"
        _check_path(path)
        session = self._opened()
        failures: list[FetchError] = []
        count = len(self._settings.urls)
        for step in range(count):
            position = (self._preferred + step) % count
            url = f"{self._settings.urls[position]}/{path}"
            try:
                stream = session.get(url, offset, length_max)
            except FetchError as error:
                failures.append(error)
                continue
            if not all(isinstance(failure, NotFoundError) for failure in failures):
                self._preferred = position
            return MirrorStream(stream, partial(self._leave, position))
        # A missing file is only missing if nobody has it and everybody could be asked.
        raise next(
            (failure for failure in failures if not isinstance(failure, NotFoundError)), failures[0]
        )

    def close(self) -> None:
        """Close all connections; the next `open` makes new ones."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _opened(self) -> "HttpsSession":
        if self._session is None:
            from agent.linux.https import HttpsSession  # noqa: PLC0415  # idle processes go without

            self._session = HttpsSession(self._settings.authority, self._limits)
        return self._session

    def _leave(self, position: int) -> None:
        if self._preferred == position:
            self._preferred = (position + 1) % len(self._settings.urls)


class MirrorStream:
    """The bytes of one answer; if they stop coming, the next `open` prefers another server."""

    def __init__(self, stream: "HttpsStream", leave: Callable[[], None]) -> None:
        self._stream = stream
        self._leave = leave

    def read(self, length_max: int) -> bytes:
        """At least one and at most `length_max` bytes; empty only at the end."""
        try:
            return self._stream.read(length_max)
        except FetchError:
            self._leave()
            raise

    def close(self) -> None:
        """Stop fetching. A second call does nothing."""
        self._stream.close()


def _check_path(path: str) -> None:
    parts = path.split("/")
    if len(parts) > PATH_PARTS_MAX or not all(PATH_PART.fullmatch(part) for part in parts):
        raise FetchError(
            f"a path of parts of letters, digits, . _ - was expected, {path[:200]!r} found; "
            f"nothing was fetched"
        )
