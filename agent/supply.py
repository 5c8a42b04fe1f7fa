"""Supplies the windows of one image: from a delta as far as the device has what it builds upon, else full.

Content decides. A window that a delta makes must have its SHA-256; when it has not, because the active
slot is mounted and has been written, that window alone comes from the full payload, whose index is
fetched only then. Nothing that is wrong with a delta is an error, and the active slot is only read.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol, assert_never

from agent.errors import InstallError, NotFoundError, PayloadError
from agent.interfaces import Repository
from agent.payload import (
    FULL_KINDS,
    Kind,
    PayloadIndex,
    Range,
    Source,
    WindowEntry,
    windows_digest,
)
from agent.records import Meter, Records
from agent.update import Installation
from agent.windows import make_window, window_ranges, zeros

MISSES_MAX: Final = 8
"""So many windows a base may lack, and more if it had as many: then it is another one altogether."""


GAP_BYTES: Final = 4096
"""So much is read for nothing where it saves a call."""
TOGETHER_BYTES: Final = 256 * 1024


class UnreadableError(InstallError):
    """What a delta builds upon cannot be read here: the window comes from the full payload."""


class Base(Protocol):
    """The part of the active slot, which nobody here can write. Raises `InstallError`."""

    @property
    def size_bytes(self) -> int:
        """The size of the device."""
        ...

    def read(self, offset: int, length_bytes: int) -> bytes:
        """Exactly this many bytes from offset."""
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """A window that needs no record: its SHA-256, and its bytes unless the base is not what it was."""

    sha256: bytes
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is around one part: `image` reads what of the new image is on the device already.

    `spend` is called with the length of each record before it is fetched. `secret` is the device's private
    key (PEM), for what is encrypted.
    """

    base: Base | None
    image: Callable[[int, int], bytes]
    spend: Callable[[int], None]
    secret: bytes = field(default=b"", repr=False)


class Supply:
    """The windows of one image. Raises `FetchError`, and `PayloadError` for a wrong full payload."""

    def __init__(
        self,
        repository: Repository,
        installation: Installation,
        meter: Meter,
        surroundings: Surroundings,
    ) -> None:
        length = installation.length_bytes
        delta, has_base = installation.delta, surroundings.base is not None
        secret = surroundings.secret
        self._full = Records(repository, installation.payload, length, meter, secret)
        self._delta = (
            Records(repository, delta, length, meter, secret) if delta and has_base else None
        )
        self._blob = installation.payload.blob
        self._around = surroundings
        self._index: PayloadIndex | None = None
        self._full_index: PayloadIndex | None = None
        self._hits = 0
        self._misses = 0

    @property
    def fetched_bytes(self) -> int:
        """The length of all records that were fetched, wrong ones too."""
        return self._full.fetched_bytes + (self._delta.fetched_bytes if self._delta else 0)

    def entries(self) -> tuple[WindowEntry, ...]:
        """Fetch and check an index: every window of the image with its SHA-256."""
        if self._delta is not None:
            try:
                self._index = self._delta.index()
            except (PayloadError, NotFoundError):
                self._drop_delta()
        if self._index is None:
            self._index = self._full_index = self._full.index()
        return self._index.entries

    def check_end(self) -> None:
        """See that the payload to be used is there to its last byte, before anything is written.

        Only a delta that is not there is done without: the full payload is no answer to a busy server.
        """
        if self._delta is not None:
            try:
                self._delta.check_end()
            except NotFoundError:
                self._drop_delta()
            else:
                return
        self._full.check_end()

    def at_hand(self, number: int) -> tuple[Window, ...]:
        """The windows of an entry that needs no record, checked."""
        assert self._index is not None, "the index is read first"
        entry = self._index.entries[number]
        match entry.kind:
            case Kind.ZEROS:
                return (Window(entry.sha256, zeros(entry)),)
            case Kind.COPY:
                return self._copied(number, entry)
            case Kind.PLAIN | Kind.ZSTD | Kind.PREFIXED | Kind.DIFFERENCE:
                raise AssertionError(f"a window of kind {entry.kind} has a record")
            case _:
                assert_never(entry.kind)

    def travels(self, number: int) -> bool:
        """Whether a window has a record, so that it must be fetched."""
        assert self._index is not None, "the index is read first"
        return self._index.entries[number].record_length > 0

    def window(self, number: int, last: int | None = None) -> bytes:
        """The bytes of a window that has a record, checked against its SHA-256.

        `last` is the last entry of those that will be asked for without a gap; None when all will be.
        """
        content = self._from_delta(number, last)
        if content is not None:
            return content
        assert self._index is not None, "the index is read first"
        return self._from_full(
            self.replacement(number), None if last is None else self._index.entries[last]
        )

    def replacement(self, number: int, place: int = 0) -> WindowEntry:
        """How the full payload makes the window at this place of an entry."""
        return self._entries_of_full(number)[place]

    def replaced(self, entry: WindowEntry) -> bytes:
        """The bytes of a `replacement`, checked against its SHA-256."""
        return self._from_full(entry, None)

    def close(self) -> None:
        """Stop fetching."""
        self._full.close()
        if self._delta is not None:
            self._delta.close()

    def _drop_delta(self) -> None:
        if self._delta is not None:
            self._delta.close()
            self._delta = None

    @property
    def _base_is_another(self) -> bool:
        return self._misses > max(MISSES_MAX, self._hits)

    def _from_delta(self, number: int, last: int | None = None) -> bytes | None:
        delta, index = self._delta, self._index
        if delta is None or index is None:
            return None
        entry = index.entries[number]
        needs_base = entry.kind not in FULL_KINDS
        if needs_base and self._base_is_another:
            return None

        def fetch(entry: WindowEntry) -> bytes:
            self._around.spend(entry.record_length)
            end = None if last is None else _end_of(index.entries[number : last + 1])
            return delta.record(entry, end)

        try:
            content = make_window(entry, fetch, self._gather)
        except (PayloadError, UnreadableError, NotFoundError):
            content = (
                None  # a record that is wrong, a base that cannot be read, a mirror without it
            )
        if needs_base:
            self._hits += content is not None
            self._misses += content is None
        return content

    def _copied(self, number: int, entry: WindowEntry) -> tuple[Window, ...]:
        """All windows of a run that is right as a whole; else those that the full payload calls so."""
        assert self._index is not None, "the entry is from it"
        window_bytes = self._index.window_bytes
        alone = entry.length_bytes <= window_bytes
        made: list[bytes | None] = []
        if self._delta is not None and not self._base_is_another:
            made += map(self._gathered, window_ranges(entry, window_bytes))
            hashes = [hashlib.sha256(one or b"").digest() for one in made]
            if (
                hashes[0] if alone else windows_digest(hashes)
            ) == entry.sha256 and None not in made:
                self._hits += len(made)
                return tuple(map(Window, hashes, made))
        wanted = (entry,) if alone else self._entries_of_full(number)
        found = {hashlib.sha256(one).digest(): one for one in made if one is not None}
        windows = tuple(Window(one.sha256, found.get(one.sha256)) for one in wanted)
        missed = sum(one.content is None for one in windows)
        self._misses += missed
        self._hits += len(windows) - missed
        return windows

    def _gathered(self, ranges: list[Range]) -> bytes | None:
        try:
            return self._gather(ranges)
        except UnreadableError:
            return None

    def _gather(self, ranges: list[Range]) -> bytes:
        """Apart from all other errors of the medium: a flush that fails must end the installation."""
        try:
            return b"".join(self._read(ranges))
        except InstallError as error:
            raise UnreadableError(str(error)) from error

    def _read(self, ranges: list[Range]) -> Iterator[bytes]:
        """Each range; those of the base that lie close together are read at once."""
        low, high, known = 0, 0, b""
        for number, (source, length, offset) in enumerate(ranges):
            if source == Source.ZEROS:
                yield bytes(length)
            elif source == Source.IMAGE:
                yield self._around.image(offset, length)
            else:
                if offset < low or offset + length > high:
                    low, high = offset, _end_together(ranges, number)
                    known = self._read_base(low, high)
                yield known[offset - low : offset - low + length]

    def _read_base(self, start: int, end: int) -> bytes:
        base = self._around.base
        if base is None or end > base.size_bytes:
            raise InstallError(f"the active slot ends before byte {end}")
        return base.read(start, end - start)

    def _from_full(self, entry: WindowEntry, last: WindowEntry | None) -> bytes:
        """`last` as in `window`; it is beside the point while the delta makes most of what follows."""
        alone = self._delta is not None and not self._base_is_another

        def fetch(entry: WindowEntry) -> bytes:
            self._around.spend(entry.record_length)
            return self._full.record(entry, self._end_in_full(entry, entry if alone else last))

        content = make_window(entry, fetch, self._gather)
        if content is None:
            raise PayloadError(
                f"payload {self._blob[:16]}: the window at {entry.offset} is not what its "
                "index says; publish the payload anew"
            )
        return content

    def _end_in_full(self, first: WindowEntry, last: WindowEntry | None) -> int | None:
        if last is None:
            return None
        assert self._full_index is not None, "the entry is from it"
        window_bytes, entries = self._full_index.window_bytes, self._full_index.entries
        end = -(-(last.offset + last.length_bytes) // window_bytes)
        return _end_of(entries[first.offset // window_bytes : end])

    def _entries_of_full(self, number: int) -> tuple[WindowEntry, ...]:
        """The full payload's windows that one entry covers."""
        assert self._index is not None, "the index is read first"
        if self._full_index is None:
            self._full_index = self._full.index()
        wanted, window_bytes = self._index.entries[number], self._index.window_bytes
        end = wanted.offset + wanted.length_bytes
        entries = self._full_index.entries[wanted.offset // window_bytes : -(-end // window_bytes)]
        if self._full_index.window_bytes == window_bytes and (
            len(entries) > 1 or entries[0].sha256 == wanted.sha256
        ):
            return entries
        raise PayloadError(
            f"payload {self._blob[:16]}: the same windows as in the delta were expected, others found; "
            "publish both anew"
        )


def _end_together(ranges: list[Range], number: int) -> int:
    """Where those end that follow a range of the base, all of them close to each other."""
    _, length, start = ranges[number]
    end = start + length
    for source, length, offset in ranges[number + 1 :]:
        if source == Source.BASE:
            if not start <= offset <= end + GAP_BYTES or offset + length - start > TOGETHER_BYTES:
                break
            end = max(end, offset + length)
    return end


def _end_of(entries: tuple[WindowEntry, ...]) -> int:
    """Where the records of these windows end in the payload."""
    for one in reversed(entries):  # encoders write records in order
        if one.record_length:
            return one.record_offset + one.record_length
    return 0
