"""Brings images onto the standby slot, window by window, so that running it again resumes it.

Content decides: a window that the slot already holds is neither fetched nor written; where many windows in
a row were not held, only some are looked at until one is. Every record is
checked before it is decompressed and every window before it is written. In memory for each part are its
first window and its index, and one window with its record and what those build upon.

The first window of every part is made invalid before anything else is written, the sectors that make it
a file system before the others, and written last, those sectors after the others, when all the rest was
flushed, read back from the device and matched against the image's hash: whatever is cut or torn, the slot
is either whole or cannot start.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from agent.errors import InstallError
from agent.interfaces import BlockDevice, Repository
from agent.payload import WindowEntry
from agent.records import Meter as Meter  # noqa: PLC0414  # its users know it from here
from agent.supply import Base, Supply, Surroundings
from agent.update import Installation

FLUSH_BYTES: Final = 512 * 1024
"""At most this many fetched bytes of a part, its index aside, are lost by a power cut.

With what is on its way then (`agent/linux/https.py`) and the index it stays below 1 MiB.
"""
FLUSH_WRITTEN_BYTES: Final = 4 * 1024 * 1024
"""About as many written bytes of a part are lost by a power cut, fetched or not, and written again."""
READ_BYTES: Final = 1024 * 1024
MISSES_IN_A_ROW: Final = 64
"""So many windows are looked at in vain, which costs as much as writing them, before it is done less.

Where one window in so many is held, or more, hardly any of these is then fetched and written for nothing.
"""
LOOK_EVERY: Final = 4
FREED_BYTES: Final = 4 * 1024 * 1024
LOOK_AHEAD: Final = 256
"""So many windows at most are asked for at once."""
SIGNS_BYTES: Final = 512
SUPERBLOCK: Final = (1024, 1536)
"""The sector in which ext4 and erofs are known; the first sector is free there."""


@dataclass(frozen=True, slots=True)
class Job:
    """One installation, the device that takes it, and the same part of the active slot, if any."""

    installation: Installation
    device: BlockDevice
    base: Base | None = None
    secret: bytes = field(default=b"", repr=False)
    """The device's private key (PEM), for a payload that is encrypted."""


Install = Callable[[tuple[Job, ...], Repository, Meter, Callable[[], None]], None]
"""What `install` is to its caller."""


def install(
    jobs: tuple[Job, ...],
    repository: Repository,
    meter: Meter,
    progress: Callable[[], None],
    *,
    flush_bytes: int = FLUSH_BYTES,
    make_part: "type[Part] | None" = None,
) -> None:
    """Return when every part holds its image, flushed, read back and matched.

    `progress` is called after each window. After so many fetched bytes what was written is made
    durable: a power cut loses no more. Raises `FetchError`, `PayloadError`, `InstallError`; what
    was written until then stays and is not fetched again.
    """
    _keep_freed_memory()
    meter.total_bytes = 2 * sum(job.installation.length_bytes for job in jobs)  # write, read back
    parts = [(make_part or Part)(job, repository, meter, progress, flush_bytes) for job in jobs]
    try:
        for part in parts:
            part.read_index()
        if not all(part.holds_image() for part in parts):
            _write(parts)
        meter.done_bytes = meter.total_bytes
    finally:
        for part in parts:
            part.close()


def _keep_freed_memory() -> None:
    """Free a large block once, and the C library keeps what is freed from then on, up to twice as much.

    Else glibc returns the buffers of each window to the kernel, which zeroes every page of the next one's: a
    quarter of all processor time (mallopt(3), M_MMAP_THRESHOLD). Nothing is touched, so nothing is resident.
    """
    bytes(FREED_BYTES)


def _write(parts: list["Part"]) -> None:
    for part in parts:
        part.check_end()
    for part in parts:
        part.invalidate()
    for part in parts:
        part.write_body()
    for part in parts:
        part.check_body()
    for part in parts:
        part.write_first()  # a cut between two parts: the other one still cannot start


class Looking:
    """Decides where a slot is looked at: seldom where it holds something else for long.

    What a cut left was written in order, so it is found whole: one hit and all are looked at again.
    """

    def __init__(self) -> None:
        self._misses = 0

    def holds(self, number: int, look: Callable[[], bool]) -> bool:
        """Whether a window is there; False also for one that is not looked at."""
        held = (self._misses < MISSES_IN_A_ROW or number % LOOK_EVERY == 0) and look()
        self._misses = 0 if held else self._misses + 1
        return held


class Part:
    """One part of the slot while it is written."""

    def __init__(
        self,
        job: Job,
        repository: Repository,
        meter: Meter,
        progress: Callable[[], None],
        flush_bytes: int,
    ) -> None:
        self._image = job.installation
        self._device = job.device
        around = Surroundings(job.base, self._read_image, self._flush_before, job.secret)
        self._supply = Supply(repository, job.installation, meter, around)
        self._meter = meter
        self._progress = progress
        self._flush_bytes = flush_bytes
        self._entries: tuple[WindowEntry, ...] = ()
        self._first = b""
        self._first_cost_bytes = 0
        self._flushed_bytes = 0
        self._waiting_bytes = 0
        self._records_seen = Looking()
        self._others_seen = Looking()
        self._wanted = [True]
        self._run_last = -1

    def read_index(self) -> None:
        """Fetch the index, check it, and see that the image fits."""
        self._entries = self._supply.entries()
        if self._image.length_bytes > self._device.size_bytes:
            raise InstallError(
                f"part {self._image.part}: {self._image.length_bytes} bytes do not fit "
                f"into {self._device.size_bytes}"
            )

    def holds_image(self) -> bool:
        """Whether the medium already has the whole image; stops at the first window it lacks."""
        self._device.flush()  # from here on reads come from the medium
        digest = hashlib.sha256()
        for entry in self._entries:
            content = self._device.read(entry.offset, entry.length_bytes)
            if hashlib.sha256(content).digest() != entry.sha256:
                return False
            digest.update(content)
            self._progress()
        return digest.hexdigest() == self._image.sha256

    def check_end(self) -> None:
        """See that the mirror has the payload to its last byte, before anything is written."""
        self._supply.check_end()

    def invalidate(self) -> None:
        """Make the part unable to start; durable on return, before anything else is written."""
        for start, end in self._steps():
            zeros = bytes(end - start)
            if self._device.read(start, end - start) != zeros:
                self._put(start, zeros)
                self._flush()

    def _steps(self) -> list[tuple[int, int]]:
        """The first window, from the sectors on in which file systems say what they are.

        One sector is written whole or not at all. FAT, squashfs and most others are known by their
        first sector, ext4 and erofs by the one at 1024: with both gone nothing starts, however the
        write of the others is torn.
        """
        length = self._entries[0].length_bytes
        wanted = (0, SIGNS_BYTES), SUPERBLOCK, (SIGNS_BYTES, SUPERBLOCK[0]), (SUPERBLOCK[1], length)
        clipped = [(start, min(end, length)) for start, end in wanted]
        return [(start, end) for start, end in clipped if start < end]

    def write_body(self) -> None:
        """Fetch the first window, which comes first on the wire; write all the others, then flush."""
        self._flushed_bytes = self._supply.fetched_bytes
        self._first = self._supply.window(0, self._last_of_run(0))
        self._first_cost_bytes = self._supply.fetched_bytes - self._flushed_bytes
        for number, entry in enumerate(self._entries[1:], start=1):
            self._bring(number, entry)
            self._advance(entry)
        self._flush()

    def _bring(self, number: int, entry: WindowEntry) -> None:
        """Make the slot hold one window."""
        if not self._is_wanted(number):
            return
        content = self._supply.at_hand(number)
        if self._supply.travels(number):
            self._put(entry.offset, self._supply.window(number, self._last_of_run(number)))
        elif content is None:  # the base is not what it was
            if not self._others_seen.holds(number, partial(self._holds, entry)):
                self._put(entry.offset, self._supply.window(number))
        elif not self._others_seen.holds(number, partial(self._has, entry, content)):
            self._put(entry.offset, content)

    def _is_wanted(self, number: int) -> bool:
        """False when the slot was found to hold the window. Those that do not travel are looked at later."""
        while len(self._wanted) <= number:
            ahead = len(self._wanted)
            entry = self._entries[ahead]
            held = self._supply.travels(ahead) and self._records_seen.holds(
                ahead, partial(self._holds, entry)
            )
            self._wanted.append(not held)
        return self._wanted[number]

    def _last_of_run(self, number: int) -> int:
        """The last window before the next one that the slot holds, as far as is looked ahead.

        So a request ends where nothing more is wanted, and no server sends what is thrown away.
        """
        if number > self._run_last:
            end = min(number + LOOK_AHEAD, len(self._entries))
            held = (at for at in range(number + 1, end) if not self._is_wanted(at))
            self._run_last = next(held, end) - 1
        return self._run_last

    def check_body(self) -> None:
        """Read back everything but the first window and match it, with that one, against the image."""
        self._match(hashlib.sha256(self._first), len(self._first))

    def write_first(self) -> None:
        """Write the window that makes the part able to start, and read it back."""
        steps = list(reversed(self._steps()))
        if _known_by_superblock(self._first) and SUPERBLOCK in steps:
            steps.remove(SUPERBLOCK)
            steps.append(SUPERBLOCK)
        for start, end in steps:  # the sector that makes the part able to start comes last
            self._put(start, self._first[start:end])
            self._flush()
        if self._device.read(0, len(self._first)) != self._first:
            raise self._mismatch("its first window", "other bytes")
        self._advance(self._entries[0])

    def close(self) -> None:
        """Stop fetching."""
        self._supply.close()

    def _has(self, entry: WindowEntry, content: bytes) -> bool:
        return self._device.read(entry.offset, entry.length_bytes) == content

    def _holds(self, entry: WindowEntry) -> bool:
        content = self._device.read(entry.offset, entry.length_bytes)
        return hashlib.sha256(content).digest() == entry.sha256

    def _put(self, offset: int, content: bytes) -> None:
        self._device.write(offset, content)
        self._meter.written_bytes += len(content)
        self._waiting_bytes += len(content)
        if self._waiting_bytes >= FLUSH_WRITTEN_BYTES:
            self._flush()

    def _read_image(self, offset: int, length_bytes: int) -> bytes:
        """Bytes of the new image before the window that is made; the first window is in memory only."""
        first = self._first[offset : offset + length_bytes]
        rest = length_bytes - len(first)
        return first + self._device.read(offset + len(first), rest) if rest else first

    def _flush_before(self, record_bytes: int) -> None:
        """Flush when what this record fetches would be too much to lose; the first one waits on."""
        fetched = self._supply.fetched_bytes
        if self._first and fetched + record_bytes - self._flushed_bytes > self._flush_bytes:
            self._flush()

    def _flush(self) -> None:
        """Make what was written durable: all that was fetched, but for the first window."""
        self._device.flush()
        self._waiting_bytes = 0
        self._flushed_bytes = self._supply.fetched_bytes - self._first_cost_bytes

    def _match(self, digest: "hashlib._Hash", start: int) -> None:
        length = self._image.length_bytes
        for offset in range(start, length, READ_BYTES):
            content = self._device.read(offset, min(READ_BYTES, length - offset))
            digest.update(content)
            self._meter.done_bytes += len(content)
            self._progress()
        if digest.hexdigest() != self._image.sha256:
            raise self._mismatch(f"SHA-256 {self._image.sha256[:16]}", digest.hexdigest()[:16])

    def _mismatch(self, expected: str, found: str) -> InstallError:
        return InstallError(
            f"part {self._image.part}: {expected} was expected on the device, {found} read back; "
            "the medium may be failing"
        )

    def _advance(self, entry: WindowEntry) -> None:
        self._meter.done_bytes += entry.length_bytes
        self._progress()


def _known_by_superblock(first: bytes) -> bool:
    return first[1080:1082] == b"\x53\xef" or first[1024:1028] == b"\xe2\xe1\xf5\xe0"
