"""Payloads, honest or not, and the smallest repository and devices that installing needs."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from backports import zstd

from agent.errors import FetchError, InstallError, NotFoundError
from agent.install import Job, Meter, install
from agent.interfaces import ByteStream
from agent.payload import (
    Kind,
    PayloadIndex,
    WindowEntry,
    encode_index,
    index_length,
    window_lengths,
)
from agent.release import Payload
from agent.update import Installation

WINDOW: Final = 4096
Entries = tuple[WindowEntry, ...]
Lie = Callable[[Entries], Entries]


def noise(length_bytes: int, seed: int = 1) -> bytes:
    """Bytes that no coder makes smaller, the same ones every time."""
    return Random(seed).randbytes(length_bytes)


def digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def honest(entries: Entries) -> Entries:
    return entries


def make_payload(
    image: bytes,
    *,
    part: str = "root",
    window_bytes: int = WINDOW,
    lie: Lie = honest,
    tail: bytes = b"",
) -> tuple[Installation, bytes]:
    """The installation of an image and its payload: plain, zstd and zeros as the windows ask for.

    `lie` changes the entries after they were made; `tail` is appended to the last record's bytes.
    """
    position = index_length(len(image), window_bytes)
    entries, records = [], []
    for number, (offset, length) in enumerate(window_lengths(len(image), window_bytes)):
        content = image[offset : offset + length]
        if content == bytes(length):
            kind, record = Kind.ZEROS, b""
        elif number % 2:
            kind, record = Kind.ZSTD, zstd.compress(content)
        else:
            kind, record = Kind.PLAIN, content
        entries.append(
            WindowEntry(
                offset,
                length,
                digest(content),
                kind,
                position if record else 0,
                len(record),
                digest(record) if record else bytes(32),
            )
        )
        records.append(record)
        position += len(record)
    index = encode_index(PayloadIndex(window_bytes, len(image), lie(tuple(entries))))
    blob = b"".join([index, *records, tail])
    payload = Payload(
        kind="full",
        blob=hashlib.sha256(blob).hexdigest(),
        length_bytes=len(blob),
        index_bytes=len(index),
        index_sha256=hashlib.sha256(index).hexdigest(),
    )
    return Installation(part, len(image), hashlib.sha256(image).hexdigest(), payload), blob


@dataclass(slots=True)
class Mirror:
    """A `Repository` of blobs by path that counts what it is asked; `end` is where it goes silent."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    opened: list[tuple[str, int]] = field(default_factory=list)
    sent_bytes: int = 0
    left_bytes: int | None = None
    part_bytes: int = 1000

    def add(self, installation: Installation, blob: bytes) -> None:
        self.blobs[installation.payload.path] = blob

    def open(self, path: str, offset: int, length_max: int) -> ByteStream:
        """The bytes from offset on."""
        assert offset >= 0
        assert length_max > 0
        self.opened.append((path, offset))
        if path not in self.blobs:
            raise NotFoundError(path)
        return _Stream(self, self.blobs[path][offset : offset + length_max])


@dataclass(slots=True)
class _Stream:
    mirror: Mirror
    rest: bytes
    closed: bool = False

    def read(self, length_max: int) -> bytes:
        assert length_max > 0
        assert not self.closed
        part = self.rest[: min(length_max, self.mirror.part_bytes)]
        if self.mirror.left_bytes is not None:
            if part and self.mirror.left_bytes < len(part):
                raise FetchError("the network went away")
            self.mirror.left_bytes -= len(part)
        self.rest = self.rest[len(part) :]
        self.mirror.sent_bytes += len(part)
        return part

    def close(self) -> None:
        self.closed = True


@dataclass(frozen=True, slots=True)
class Deed:
    """Something a device was made to do, and how many bytes had been fetched by then."""

    verb: str
    offset: int
    content: bytes
    fetched_bytes: int


@dataclass(slots=True)
class Slot:
    """A `BlockDevice` that remembers every deed; `spoil` changes what arrives on the medium."""

    content: bytearray
    mirror: Mirror
    deeds: list[Deed] = field(default_factory=list)
    spoil: Callable[[int, bytes], bytes] = lambda _offset, content: content
    flush_fails: bool = False
    read_bytes_max: int = 0

    @property
    def size_bytes(self) -> int:
        """The size of the device."""
        return len(self.content)

    def read(self, offset: int, length_bytes: int) -> bytes:
        """Exactly these bytes."""
        assert 0 <= offset <= offset + length_bytes <= len(self.content)
        self.read_bytes_max = max(self.read_bytes_max, length_bytes)
        return bytes(self.content[offset : offset + length_bytes])

    def write(self, offset: int, content: bytes) -> None:
        """Take bytes."""
        assert 0 <= offset <= offset + len(content) <= len(self.content)
        self.deeds.append(Deed("write", offset, content, self.mirror.sent_bytes))
        self.content[offset : offset + len(content)] = self.spoil(offset, content)

    def holds(self, offset: int, content: bytes) -> bool:
        """Compare them."""
        return self.read(offset, len(content)) == content

    def flush_behind(self) -> None:
        """Begin to make them durable."""
        self.deeds.append(Deed("flush behind", 0, b"", self.mirror.sent_bytes))
        if self.flush_fails:
            raise InstallError("the medium does not flush")

    def flush(self) -> None:
        """Make them durable."""
        self.deeds.append(Deed("flush", 0, b"", self.mirror.sent_bytes))
        if self.flush_fails:
            raise InstallError("the medium does not flush")

    def writes(self) -> list[Deed]:
        return [deed for deed in self.deeds if deed.verb == "write"]


@dataclass(slots=True)
class Bench:
    """One image, its payload on a mirror, and a slot that takes it."""

    image: bytes
    installation: Installation
    mirror: Mirror
    slot: Slot
    meter: Meter = field(default_factory=Meter)
    progressed: int = 0

    def install(self) -> None:
        install((Job(self.installation, self.slot),), self.mirror, self.meter, self._progress)

    def _progress(self) -> None:
        self.progressed += 1

    def again(self) -> "Bench":
        """The next boot: nothing is left but the medium and the mirror."""
        self.mirror.opened.clear()
        self.mirror.sent_bytes = 0
        self.slot.deeds.clear()
        return replace(self, meter=Meter())


def make_bench(
    image: bytes,
    *,
    window_bytes: int = WINDOW,
    lie: Lie = honest,
    tail: bytes = b"",
    old: bytes = b"",
    spare_bytes: int = 0,
) -> Bench:
    """A slot that holds `old` bytes, or something from the factory, and what shall replace it."""
    installation, blob = make_payload(image, window_bytes=window_bytes, lie=lie, tail=tail)
    mirror = Mirror()
    mirror.add(installation, blob)
    size = len(image) + spare_bytes
    content = bytearray((old + noise(size, 99)[len(old) :])[:size])
    return Bench(image, installation, mirror, Slot(content, mirror))
