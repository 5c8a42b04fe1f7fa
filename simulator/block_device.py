"""A block device that forgets: what was written since the last flush survives a power cut in part.

Stricter than hardware: a write outside the device is an error in the caller, not a short write.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random as Generator
from typing import Final, Protocol

from agent.errors import InstallError
from agent.interfaces import BlockDevice
from simulator.power import Power

SECTOR_BYTES: Final = 512
CACHE_BYTES_MAX: Final = 16 * 1024 * 1024
"""When more than this is un-flushed the oldest writes become durable, as in a drive with little memory."""


class Store(Protocol):
    """The medium itself: what is here has survived."""

    size_bytes: int

    def read(self, offset: int, length_bytes: int) -> bytes:
        """Bytes inside the medium."""
        ...

    def write(self, offset: int, content: bytes) -> None:
        """Replace bytes inside the medium."""
        ...


class MemoryStore:
    """A small medium in memory."""

    def __init__(self, size_bytes: int, content: bytes = b"") -> None:
        self.size_bytes = size_bytes
        self._content = bytearray(content.ljust(size_bytes, b"\0"))
        assert len(self._content) == size_bytes, "the content is larger than the device"

    def read(self, offset: int, length_bytes: int) -> bytes:
        """Bytes inside the medium."""
        return bytes(self._content[offset : offset + length_bytes])

    def write(self, offset: int, content: bytes) -> None:
        """Replace bytes inside the medium."""
        self._content[offset : offset + len(content)] = content


class SparseFileStore:
    """A large medium in a file; `create()` makes it, and what was never written takes no room."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self.size_bytes = size_bytes

    def create(self) -> "SparseFileStore":
        """Make the file, or keep the one that is there."""
        with self.path.open("ab") as file:
            file.truncate(self.size_bytes)
        return self

    def read(self, offset: int, length_bytes: int) -> bytes:
        """Bytes inside the medium."""
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(length_bytes)

    def write(self, offset: int, content: bytes) -> None:
        """Replace bytes inside the medium."""
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(content)


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """A write that no flush has completed yet."""

    offset: int
    content: bytes

    def sectors(self) -> tuple["PendingWrite", ...]:
        """The same write cut where it crosses sectors of the device: what a cut can part."""
        pieces = []
        at = 0
        while at < len(self.content):
            length = SECTOR_BYTES - (self.offset + at) % SECTOR_BYTES
            pieces.append(PendingWrite(self.offset + at, self.content[at : at + length]))
            at += length
        return tuple(pieces)


@dataclass(slots=True)
class DeviceFaults:
    """What is wrong with a medium: sectors that cannot be read, a write to come that fails, lies.

    `write_error_in` counts down: 1 lets the next write fail with an input/output error.
    """

    bad_sectors: set[int] = field(default_factory=set)
    write_error_in: int = 0
    lying_flush: bool = False


class SimulatedBlockDevice:
    """`BlockDevice` with a durable store and an ordered list of un-flushed writes."""

    def __init__(self, store: Store, power: Power, name: str = "disk") -> None:
        self.name = name
        self.faults = DeviceFaults()
        self._store = store
        self._power = power
        self._pending: list[PendingWrite] = []
        self._pending_bytes = 0
        self._begun = 0
        power.attach(self)

    @property
    def size_bytes(self) -> int:
        """The size of the device."""
        return self._store.size_bytes

    def read(self, offset: int, length_bytes: int) -> bytes:
        """The newest bytes, flushed or not."""
        self._check(offset, length_bytes)
        first, last = offset // SECTOR_BYTES, (offset + length_bytes - 1) // SECTOR_BYTES
        bad = sorted(number for number in self.faults.bad_sectors if first <= number <= last)
        if bad:
            raise InstallError(f"{self.name}: sector {bad[0]} cannot be read")
        return self._newest(offset, length_bytes)

    def holds(self, offset: int, content: bytes) -> bool:
        """Whether a read finds this content."""
        return self.read(offset, len(content)) == content

    def write(self, offset: int, content: bytes) -> None:
        """Take bytes; a torn write keeps some of its first sectors."""
        self._check(offset, len(content))
        detail = f"{self.name} {offset}+{len(content)}"
        with self._power.operation("BlockDevice.write", detail) as effect:
            if self._strikes():
                raise InstallError(f"{self.name}: input/output error at {offset}")
            write = PendingWrite(offset, bytes(content))
            if effect.torn:
                pieces = write.sectors()
                self._take(pieces[: len(pieces) // 2])
            else:
                self._take([write])

    def flush(self) -> None:
        """Make everything durable; one that a cut interrupts has done nothing that counts."""
        with self._power.operation("BlockDevice.flush", self.name) as effect:
            if not effect.torn and not self.faults.lying_flush:
                self.settle(self._pending)

    def flush_behind(self) -> None:
        """Make durable what was written before the call before this one: as late as it may be."""
        with self._power.operation("BlockDevice.flush_behind", self.name) as effect:
            if not effect.torn and not self.faults.lying_flush:
                for write in self._pending[: self._begun]:
                    self._take_off(write)
                self._begun = len(self._pending)

    def pending_writes(self) -> tuple[PendingWrite, ...]:
        """What a power cut now may lose, in the order in which it was written."""
        return tuple(self._pending)

    def settle(self, survivors: Iterable[PendingWrite]) -> None:
        """Make exactly these writes durable, in this order, and forget all that were pending."""
        for write in tuple(survivors):
            self._store.write(write.offset, write.content)
        self._pending = []
        self._pending_bytes = self._begun = 0

    def lose_power(self, chance: Generator) -> None:
        """Each un-flushed write is lost, survives, or survives in some of its sectors."""
        survivors: list[PendingWrite] = []
        for write in self._pending:
            match chance.randrange(3):
                case 0:
                    survivors.append(write)
                case 1:
                    survivors.extend(part for part in write.sectors() if chance.randrange(2))
                case _:
                    pass
        self.settle(survivors)

    def snapshot(self) -> bytes:
        """All durable bytes of a small device, for an explorer of states."""
        assert self.size_bytes <= CACHE_BYTES_MAX, "explore with small devices"
        return self._store.read(0, self.size_bytes)

    def restore(self, snapshot: bytes) -> None:
        """Go back to a snapshot, with nothing pending."""
        assert len(snapshot) == self.size_bytes, "a snapshot of another device"
        self.settle([PendingWrite(0, snapshot)])

    def provision(self, offset: int, content: bytes) -> None:
        """Put bytes on the medium in the factory: durable, and no operation of the device."""
        self._check(offset, len(content))
        self._store.write(offset, content)

    def durable(self, offset: int, length_bytes: int) -> bytes:
        """What is on the medium without any un-flushed write, for the judge of a simulation."""
        return self._store.read(offset, length_bytes)

    def _newest(self, offset: int, length_bytes: int) -> bytes:
        content = bytearray(self._store.read(offset, length_bytes))
        for write in self._pending:
            start = max(offset, write.offset)
            end = min(offset + length_bytes, write.offset + len(write.content))
            if start < end:
                content[start - offset : end - offset] = write.content[
                    start - write.offset : end - write.offset
                ]
        return bytes(content)

    def _take(self, writes: Iterable[PendingWrite]) -> None:
        for write in writes:
            self._pending.append(write)
            self._pending_bytes += len(write.content)
        while self._pending_bytes > CACHE_BYTES_MAX:
            self._take_off(self._pending[0])
            self._begun = max(0, self._begun - 1)

    def _take_off(self, oldest: PendingWrite) -> None:
        self._pending.remove(oldest)
        self._pending_bytes -= len(oldest.content)
        self._store.write(oldest.offset, oldest.content)

    def _strikes(self) -> bool:
        if self.faults.write_error_in == 0:
            return False
        self.faults.write_error_in -= 1
        return self.faults.write_error_in == 0

    def _check(self, offset: int, length_bytes: int) -> None:
        if offset < 0 or length_bytes < 1 or offset + length_bytes > self.size_bytes:
            raise InstallError(
                f"{self.name}: bytes inside its {self.size_bytes} were expected, "
                f"{length_bytes} at {offset} asked for"
            )


class SimulatedStorage:
    """`Storage` over devices by path."""

    def __init__(self, devices: Mapping[str, SimulatedBlockDevice]) -> None:
        self.devices = devices

    def device(self, path: str) -> BlockDevice:
        """The device at this path; the same object each time."""
        if path not in self.devices:
            raise InstallError(f"{path}: no such device; there are {', '.join(self.devices)}")
        return self.devices[path]
