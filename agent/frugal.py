"""A repository that keeps to a budget and a rate, and remembers what every run of an update needs again.

An installation that is held up for a day begins anew with its index and its first window. Those ranges are
kept as they came, encrypted or not, so that nothing is fetched twice; they are checked again like all else.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from agent.budget import Budget
from agent.errors import StateError
from agent.interfaces import ByteStream, Clock, Files, Repository

BLOBS: Final = "blobs/"
FOLDER: Final = "kept"
KEPT_BYTES_MAX: Final = 8 * 1024 * 1024
SLICE_S: Final = 1.0
"""At a limited rate so much is read at once, and the device is kept alive in between."""
SLICE_BYTES_MIN: Final = 512
PAUSE_S: Final = 0.5
UNLIMITED: Final = 1 << 30


@dataclass(slots=True)
class Range:
    """Bytes of a blob from `start` on, as far as they have been fetched without a gap."""

    path: str
    start: int
    end: int
    content: bytearray = field(default_factory=bytearray)

    @property
    def name(self) -> str:
        """Its name among the device's files."""
        return f"{FOLDER}/{self.path.rpartition('/')[2]}-{self.start}"

    def add(self, offset: int, content: bytes) -> None:
        """Take what follows on what is there."""
        at = self.start + len(self.content)
        if offset <= at < offset + len(content) and at < self.end:
            self.content += content[at - offset : self.end - offset]

    def from_(self, offset: int) -> bytes:
        """What is there from this offset on."""
        return bytes(self.content[offset - self.start :]) if offset >= self.start else b""


def _nothing() -> None:
    """Do nothing."""


class Frugal:
    """The `Repository` of a device with limits. Raises also `LimitError` and `UpdateBudgetError`.

    `breathe` is called while it waits for its rate, `ask_link` before each grant.
    """

    def __init__(
        self, inner: Repository, files: Files, clock: Clock, budget: Budget, rate_bytes_per_s: int
    ) -> None:
        self._inner = inner
        self._files = files
        self._clock = clock
        self._budget = budget
        self._rate = rate_bytes_per_s
        self._due_s = 0.0
        self._ranges: list[Range] = []
        self.breathe: Callable[[], None] = _nothing
        self.ask_link: Callable[[], None] = _nothing

    def open(self, path: str, offset: int, length_max: int) -> ByteStream:
        """The bytes of a file from offset on, as far as the budget goes."""
        if path.startswith(BLOBS):
            return _Payload(self, self._budget, path, offset, length_max)
        return _Document(self._inner.open(path, offset, length_max), self._budget)

    def expect(self, ranges: list[Range]) -> None:
        """Keep these ranges from now on, and take up those that were kept before.

        What was kept for another update goes: nobody comes back for one that was overtaken.
        """
        if sum(one.end - one.start for one in ranges) > KEPT_BYTES_MAX:
            ranges = []
        self._ranges = ranges
        self._remove_but({one.name for one in ranges})
        for one in ranges:
            content = b""
            with suppress(StateError):  # then it is fetched again
                content = self._files.read(one.name) or b""
            if len(content) <= one.end - one.start:
                one.content += content

    def keep(self) -> None:
        """Make what is kept durable, for the day when the update goes on; without it, it is fetched again."""
        for one in self._ranges:
            try:
                self._files.replace(one.name, bytes(one.content))
            except StateError:
                return

    def forget(self) -> None:
        """Nothing of this is needed again."""
        self._ranges = []
        self._remove_but(set())

    def _remove_but(self, wanted: set[str]) -> None:
        for name in self._files.names(FOLDER):
            if name not in wanted:
                self._files.remove(name)

    def known(self, path: str, offset: int, length_max: int) -> bytes:
        """What is kept from this place on."""
        for one in self._ranges:
            if one.path == path and (content := one.from_(offset)):
                return content[:length_max]
        return b""

    def request(self, path: str, offset: int, length_bytes: int) -> ByteStream:
        """One request to the inner repository."""
        return self._inner.open(path, offset, length_bytes)

    def came(self, path: str, offset: int, content: bytes) -> None:
        """Take note of bytes that were fetched."""
        self._due_s = max(self._due_s, self._clock.monotonic_s())
        self._due_s += len(content) / self._rate if self._rate else 0.0
        for one in self._ranges:
            if one.path == path:
                one.add(offset, content)

    @property
    def slice_bytes(self) -> int:
        """How much is read at once."""
        return max(SLICE_BYTES_MIN, int(self._rate * SLICE_S)) if self._rate else UNLIMITED

    def pace(self) -> None:
        """Wait until what was fetched before is as old as the rate says."""
        pauses = int((self._due_s - self._clock.monotonic_s()) / PAUSE_S) + 2 if self._rate else 0
        for _ in range(pauses):
            pause_s = self._due_s - self._clock.monotonic_s()
            if pause_s <= 0:
                return
            self._clock.sleep(min(pause_s, PAUSE_S))
            self.breathe()


class _Payload:
    """A blob on its way, in as many requests as there are grants; no read begins that cannot end."""

    def __init__(
        self, frugal: Frugal, budget: Budget, path: str, offset: int, length_max: int
    ) -> None:
        self._frugal = frugal
        self._budget = budget
        self._path = path
        self._position = offset
        self._left = length_max
        self._inner: ByteStream | None = None
        self._asked = 0
        self._reserved = 0

    def read(self, length_max: int) -> bytes:
        """Some bytes; empty at the end. All of `length_max` is granted before the first of them comes."""
        wanted = min(length_max, self._left)
        if wanted <= 0:
            return b""
        content = self._frugal.known(self._path, self._position, wanted)
        if content:
            self._stop()
        else:
            content = self._fetch(wanted)
        self._position += len(content)
        self._left = self._left - len(content) if content else 0
        return content

    def close(self) -> None:
        """Stop fetching."""
        self._left = 0
        self._stop()

    def _fetch(self, wanted: int) -> bytes:
        if self._asked + self._reserved < wanted:
            self._frugal.ask_link()
            self._reserved += self._budget.grant(wanted - self._asked - self._reserved)
        if self._inner is None or not self._asked:
            self._ask()
        assert self._inner is not None, "asked for above"
        self._frugal.pace()
        length = min(self._frugal.slice_bytes, self._asked, wanted)
        content = self._inner.read(length)
        self._asked -= len(content)
        self._frugal.came(self._path, self._position, content)
        return content

    def _ask(self) -> None:
        """A request for all that is granted, as far as it is wanted."""
        asked = min(self._reserved, self._left)
        if self._inner is not None:
            self._inner.close()
            self._inner = None
        self._inner = self._frugal.request(self._path, self._position, asked)
        self._asked, self._reserved = asked, self._reserved - asked

    def _stop(self) -> None:
        self._budget.give_back(self._asked + self._reserved)
        self._asked = self._reserved = 0
        if self._inner is not None:
            self._inner.close()
            self._inner = None


class _Document:
    """Metadata on its way: counted, and never held up."""

    def __init__(self, inner: ByteStream, budget: Budget) -> None:
        self._inner = inner
        self._budget = budget

    def read(self, length_max: int) -> bytes:
        """Some bytes; empty at the end."""
        content = self._inner.read(length_max)
        self._budget.note(len(content))
        return content

    def close(self) -> None:
        """Stop fetching."""
        self._inner.close()
