"""Brings images onto the standby slot, window by window, so that running it again resumes it.

Content decides: a window that the slot already holds is neither fetched nor written; where many windows in
a row were not held, only some are looked at until one is. Every record is
checked before it is decompressed and every window before it is written. In memory for each part are its
first window and its index, and one window with its record and what those build upon.

Everything that is written is read back from the device when it was flushed, and compared. While some is
flushed the next is made already, so that a cut costs what two flushes hold.

The first window of every part is made invalid before anything else is written, the sectors that make it
a file system before the others, and written last, those sectors after the others, when all the rest was
flushed and compared: whatever is cut or torn, the slot is either whole or cannot start.
"""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from agent.errors import FetchError, InstallError, LimitError, PayloadError
from agent.first_window import invalid_steps, valid_steps
from agent.interfaces import BlockDevice, Repository
from agent.looking import Looking
from agent.payload import WindowEntry, windows_digest
from agent.records import Meter as Meter  # noqa: PLC0414  # its users know it from here
from agent.supply import Base, Supply, Surroundings
from agent.update import Installation

FLUSH_BYTES: Final = 512 * 1024
"""At most this many fetched bytes of a part, its index aside, are lost by a power cut.

With what is on its way then (`agent/linux/https.py`) and the index it stays below 1 MiB.
"""
FLUSH_WRITTEN_BYTES: Final = 4 * 1024 * 1024
"""About as many written bytes of a part are lost by a power cut, fetched or not, and written again.

They are in memory until they were compared.
"""
SAMPLE_EVERY: Final = 32
"""One in so many windows is read once more in the end: what was taken last may have cost earlier ones."""
FREED_BYTES: Final = 4 * 1024 * 1024
LOOK_AHEAD: Final = 256
"""So many windows at most are asked for at once."""


@dataclass(frozen=True, slots=True)
class Job:
    """One installation, the device that takes it, and the same part of the active slot, if any."""

    installation: Installation
    device: BlockDevice
    base: Base | None = None
    secret: bytes = field(default=b"", repr=False)
    """The device's private key (PEM), for a payload that is encrypted."""


Piece = tuple[int, bytes]
"""An offset, and what was written there."""
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
    meter.total_bytes = sum(job.installation.length_bytes for job in jobs)
    parts = [(make_part or Part)(job, repository, meter, progress, flush_bytes) for job in jobs]
    try:
        for part in parts:
            part.read_index()
        if not all(part.holds_image() for part in parts):
            _write(parts)
        meter.done_bytes = meter.total_bytes
    except (FetchError, LimitError, PayloadError):
        for part in parts:
            part.keep()
        raise
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
        self._window_bytes = 0
        self._first = b""
        self._first_cost_bytes = 0
        self._durable_bytes = 0
        self._begun_bytes = 0
        self._waiting_bytes = 0
        self._hashes: list[bytes] = []
        self._written: list[Piece] = []
        self._under_way: list[Piece] = []
        self._records_seen = Looking()
        self._others_seen = Looking()
        self._wanted = [True]
        self._run_last = -1

    def read_index(self) -> None:
        """Fetch the index, check it, and see that it is the image's, and that the image fits."""
        self._entries = self._supply.entries()
        self._window_bytes = self._entries[0].length_bytes
        if all(entry.length_bytes <= self._window_bytes for entry in self._entries):
            self._check_image(entry.sha256 for entry in self._entries)
        if self._image.length_bytes > self._device.size_bytes:
            raise InstallError(
                f"part {self._image.part}: {self._image.length_bytes} bytes do not fit "
                f"into {self._device.size_bytes}"
            )

    def holds_image(self) -> bool:
        """Whether the medium already has the whole image; stops at the first window it lacks."""
        self._device.flush()  # from here on reads come from the medium
        for entry in self._entries:
            if not self._holds(entry):
                return False
            self._progress()
        return True

    def check_end(self) -> None:
        """See that the mirror has the payload to its last byte, before anything is written."""
        self._supply.check_end()

    def invalidate(self) -> None:
        """Make the part unable to start; durable on return, before anything else is written."""
        for start, end in invalid_steps(self._entries[0].length_bytes):
            zeros = bytes(end - start)
            if self._device.read(start, end - start) != zeros:
                self._put(start, zeros)
                self._flush()

    def write_body(self) -> None:
        """Fetch the first window, which comes first on the wire; write all the others, then flush."""
        self._bring_first()
        for number, entry in enumerate(self._entries[1:], start=1):
            self._bring(number, entry)
            self._advance(entry)
        self._flush()

    def _bring_first(self) -> None:
        self._durable_bytes = self._begun_bytes = self._supply.fetched_bytes
        if self._supply.travels(0):
            self._first = self._supply.window(0, self._last_of_run(0))
        else:
            self._first = self._supply.at_hand(0)[0].content or self._supply.replaced(
                self._supply.replacement(0)
            )
        self._hashes = [self._entries[0].sha256]
        self._first_cost_bytes = self._supply.fetched_bytes - self._durable_bytes

    def _bring(self, number: int, entry: WindowEntry) -> None:
        """Make the slot hold one window, or each one of a run."""
        if self._supply.travels(number):
            self._hashes.append(entry.sha256)
            if self._is_wanted(number):
                self._put(entry.offset, self._supply.window(number, self._last_of_run(number)))
            return
        offset, end = entry.offset, entry.offset + entry.length_bytes
        for place, window in enumerate(self._supply.at_hand(number)):
            self._hashes.append(window.sha256)
            length_bytes = min(self._window_bytes, end - offset)
            content = window.content
            if content is not None:
                look = partial(self._device.holds, offset, content)
            else:  # the base is not what it was
                look = partial(self._has, offset, length_bytes, window.sha256)
            if not self._others_seen.holds(offset // self._window_bytes, look):
                if content is None:
                    content = self._supply.replaced(self._supply.replacement(number, place))
                self._put(offset, content)
            offset += length_bytes

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
        """See that all but the first window has arrived, and read some of it once more.

        All that was written was compared when it was flushed. A medium that is smaller than it says, and
        begins anew where it ends, has lost by now what it had then.
        """
        self._flush()
        for number in range(1, len(self._hashes), SAMPLE_EVERY):
            offset = number * self._window_bytes
            length_bytes = min(self._window_bytes, self._image.length_bytes - offset)
            if not self._has(offset, length_bytes, self._hashes[number]):
                raise self._mismatch(offset)
            self._progress()
        self._check_image(self._hashes)
        if not self._image.windows_sha256:
            self._check_bytes()

    def _check_image(self, hashes: Iterable[bytes]) -> None:
        """See that all windows together are the image that was signed."""
        signed = self._image.windows_sha256
        if signed and windows_digest(hashes).hex() != signed:
            raise self._another_image()

    def _check_bytes(self) -> None:
        """The same for a manifest from before these were signed: every byte is read once more."""
        digest = hashlib.sha256(self._first)
        end = self._image.length_bytes
        for offset in range(len(self._first), end, self._window_bytes):
            digest.update(self._device.read(offset, min(end - offset, self._window_bytes)))
            self._progress()
        if digest.hexdigest() != self._image.sha256:
            raise self._another_image()

    def _another_image(self) -> PayloadError:
        return PayloadError(
            f"part {self._image.part}: the payload's windows are not those of the image with SHA-256 "
            f"{self._image.sha256[:16]} that the release names; publish it anew"
        )

    def write_first(self) -> None:
        """Write the window that makes the part able to start, and read it back."""
        for start, end in valid_steps(self._first):
            self._put(start, self._first[start:end])
            self._flush()
        if not self._device.holds(0, self._first):
            raise self._mismatch(0)
        self._advance(self._entries[0])

    def keep(self) -> None:
        """Make durable what is there, as far as that goes: nobody knows when the rest will come."""
        if self._written or self._under_way:
            with suppress(InstallError):
                self._device.flush()

    def close(self) -> None:
        """Stop fetching."""
        self._supply.close()

    def _holds(self, entry: WindowEntry) -> bool:
        """Whether the slot has one window, or a run."""
        window_bytes, end = self._window_bytes, entry.offset + entry.length_bytes
        if entry.length_bytes <= window_bytes:
            return self._has(entry.offset, entry.length_bytes, entry.sha256)
        hashes = (
            self._sha256(offset, min(window_bytes, end - offset))
            for offset in range(entry.offset, end, window_bytes)
        )
        return windows_digest(hashes) == entry.sha256

    def _has(self, offset: int, length_bytes: int, sha256: bytes) -> bool:
        return self._sha256(offset, length_bytes) == sha256

    def _sha256(self, offset: int, length_bytes: int) -> bytes:
        return hashlib.sha256(self._device.read(offset, length_bytes)).digest()

    def _put(self, offset: int, content: bytes) -> None:
        self._device.write(offset, content)
        self._written.append((offset, content))
        self._meter.written_bytes += len(content)
        self._waiting_bytes += len(content)
        if self._waiting_bytes >= FLUSH_WRITTEN_BYTES // 2:
            self._flush_behind()

    def _read_image(self, offset: int, length_bytes: int) -> bytes:
        """Bytes of the new image before the window that is made; the first window is in memory only."""
        first = self._first[offset : offset + length_bytes]
        rest = length_bytes - len(first)
        return first + self._device.read(offset + len(first), rest) if rest else first

    def _flush_before(self, record_bytes: int) -> None:
        """Flush when what this record fetches would be too much to lose; the first one waits on."""
        fetched = self._supply.fetched_bytes + record_bytes
        if self._first and fetched - self._begun_bytes > self._flush_bytes // 2:
            self._flush_behind()
        if self._first and fetched - self._durable_bytes > self._flush_bytes:
            self._flush()

    def _flush_behind(self) -> None:
        """Begin to make durable what was written: all that was fetched, but for the first window."""
        self._device.flush_behind()
        self._compare(self._under_way)
        self._under_way, self._written = self._written, []
        self._durable_bytes = self._begun_bytes
        self._begun_bytes = self._supply.fetched_bytes - self._first_cost_bytes
        self._waiting_bytes = 0

    def _flush(self) -> None:
        """Make all that was written durable."""
        self._device.flush()
        self._compare(self._under_way + self._written)
        self._under_way, self._written = [], []
        self._durable_bytes = self._begun_bytes = (
            self._supply.fetched_bytes - self._first_cost_bytes
        )
        self._waiting_bytes = 0

    def _compare(self, pieces: list[Piece]) -> None:
        """See that the medium has what was written and is flushed now."""
        for offset, content in pieces:
            if not self._device.holds(offset, content):
                raise self._mismatch(offset)

    def _mismatch(self, offset: int) -> InstallError:
        what = f"the window at {offset}" if offset else "its first window"
        return InstallError(
            f"part {self._image.part}: {what} was expected on the device as it was written, other bytes "
            "were read back; the medium may be failing"
        )

    def _advance(self, entry: WindowEntry) -> None:
        self._meter.done_bytes += entry.length_bytes
        self._progress()
