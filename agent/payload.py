"""The payload: one encoding of an image for transport, `index || data`. Pure; `docs/payload.md`.

The index says for every window of the image what its SHA-256 is and how to get it. The index's own
SHA-256 is in the signed release manifest, so all that follows from it is trusted. Every data record is
checked against its SHA-256 before anything interprets it, and every window before it is written.

Layout of a full payload's index, little-endian:

    header   8s magic "LKGPAY01" | u32 window_bytes | u32 window_count | u64 image_bytes
    entry    32s SHA-256 of the window | u8 kind | u8[3] reserved, 0 | u32 record_length
             | u64 record_offset | 32s SHA-256 of the record

`record_offset` counts from the start of the payload. A window without a record has zeros in all of its
record fields. The last window is as long as the image's rest.

A delta payload, made against one base image, has references too: its index is in `agent/delta_index.py`,
what both must keep to is here. There an entry of kind `copy` may be a run: it makes its window and up to
15 further ones, at most 4 MiB, and never the image's first window with others.
"""

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, assert_never

from agent.encryption import TAG_BYTES
from agent.errors import PayloadError

MAGIC: Final = b"LKGPAY01"
HEADER: Final = struct.Struct("<8sIIQ")
ENTRY: Final = struct.Struct("<32sB3sIQ32s")
RESERVED: Final = bytes(3)
REFERENCE: Final = struct.Struct("<B3xIQ")
"""A reference in memory: source, length, offset."""
SHA256_BYTES: Final = 32
WINDOW_BYTES: Final = 256 * 1024
"""The window that the encoder uses; memory on the device is a few of these."""
WINDOW_BYTES_MAX: Final = 4 * 1024 * 1024
SECTOR_BYTES: Final = 512
WINDOW_BYTES_MIN: Final = SECTOR_BYTES
RECORD_SLACK_BYTES: Final = 4096
"""How much longer than its window a record may be: a coder's frame around what does not compress."""
INDEX_BYTES_MAX: Final = 64 * 1024 * 1024
RUN_FURTHER_MAX: Final = 15
"""How many windows behind its own an entry may copy."""
RUN_BYTES_MAX: Final = WINDOW_BYTES_MAX
PREFIX_BYTES_MAX: Final = 1024 * 1024
"""How many bytes a zstd record may refer back to before its window."""
PREFIX_BYTES_MIN: Final = 8
"""What the zstd library takes as a prefix at all."""
REFERENCES_MAX: Final = 4096
"""For one window."""
REFERENCES_MEAN_MAX: Final = 256
"""For all windows together, each: what the index may cost in memory."""


Unseal = Callable[[bytes], bytes]
"""Opens what is encrypted. Raises `DecryptionError`."""


class Kind(IntEnum):
    """How a window is made. A payload with a kind that an agent does not know is not used by it."""

    ZEROS = 0
    PLAIN = 1
    ZSTD = 2
    COPY = 3
    """The gathered bytes are the window."""
    PREFIXED = 4
    """One zstd frame that may refer back to the gathered bytes."""
    DIFFERENCE = 5
    """Byte by byte, modulo 256: as many gathered bytes as the window has, plus what one zstd frame
    holds; the frame may refer back to the gathered bytes behind those."""


FULL_KINDS: Final = frozenset((Kind.ZEROS, Kind.PLAIN, Kind.ZSTD))


class Source(IntEnum):
    """Where a reference points."""

    BASE = 0
    """The base image, in the active slot."""
    IMAGE = 1
    """What comes before the window in the same image, in the standby slot."""
    ZEROS = 2
    """Nowhere: so many zeros. Its offset is 0."""


SOURCES: Final = tuple(Source)


def padded_bytes(length_bytes: int) -> int:
    """How long an image is with the zeros that fill its last sector: payloads have whole ones."""
    return -(-length_bytes // SECTOR_BYTES) * SECTOR_BYTES


Range = tuple[int, int, int]
"""The source, the length and the offset of a `Reference`."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A range of bytes that the device has already."""

    source: Source
    length_bytes: int
    offset: int


@dataclass(frozen=True, slots=True)
class WindowEntry:
    """A window of the image, or a run of them: where it goes, what it must hash to, and how to get it.

    The `sha256` of a run is the `windows_digest` of its windows.
    """

    offset: int
    length_bytes: int
    sha256: bytes
    kind: Kind
    record_offset: int
    record_length: int
    record_sha256: bytes
    packed_references: bytes = b""
    """Small, since there are tens of thousands of them."""

    def references(self) -> Iterator[Reference]:
        """The ranges whose bytes are gathered, one behind the other."""
        for source, length, offset in self.ranges():
            yield Reference(SOURCES[source], length, offset)

    def ranges(self) -> list[Range]:
        """The same as plain numbers, for whoever has tens of thousands of them to read."""
        return list(REFERENCE.iter_unpack(self.packed_references))


@dataclass(frozen=True, slots=True)
class PayloadIndex:
    """The parsed index: every entry is inside the image and inside the payload."""

    window_bytes: int
    image_bytes: int
    entries: tuple[WindowEntry, ...]


def window_lengths(image_bytes: int, window_bytes: int) -> Iterator[tuple[int, int]]:
    """Offset and length of each window of an image."""
    for offset in range(0, image_bytes, window_bytes):
        yield offset, min(window_bytes, image_bytes - offset)


def windows_digest(hashes: Iterable[bytes]) -> bytes:
    """By which several windows are known: the SHA-256 of theirs, one behind the other."""
    return hashlib.sha256(b"".join(hashes)).digest()


def pack_references(references: Iterable[Reference]) -> bytes:
    """References as an entry holds them."""
    return b"".join(REFERENCE.pack(one.source, one.length_bytes, one.offset) for one in references)


def encode_index(index: PayloadIndex) -> bytes:
    """The bytes of a full payload's index; `parse_index` reads them back."""
    windows = len(index.entries)
    rows = [HEADER.pack(MAGIC, index.window_bytes, windows, index.image_bytes)]
    rows += [
        ENTRY.pack(
            entry.sha256,
            entry.kind,
            RESERVED,
            entry.record_length,
            entry.record_offset,
            entry.record_sha256,
        )
        for entry in index.entries
    ]
    return b"".join(rows)


def index_length(image_bytes: int, window_bytes: int) -> int:
    """How many bytes the index of a full payload has."""
    return HEADER.size + ENTRY.size * -(-image_bytes // window_bytes)


def parse_index(
    content: bytes,
    *,
    sha256: str,
    image_bytes: int,
    payload_bytes: int,
    unseal: Unseal | None = None,
) -> PayloadIndex:
    """The index of a full payload in these bytes, if they are those that the release manifest names.

    `unseal` opens the index of a payload that is encrypted.

    Raises `PayloadError` for another hash, and for anything that points outside the image or the
    payload: an index that lies is refused before the first write even when it is signed.
    """
    check_sha256(content, sha256)
    bounds = Bounds(image_bytes, payload_bytes, None, TAG_BYTES if unseal else 0)
    content = unseal(content) if unseal else content
    if len(content) < HEADER.size:
        raise PayloadError(f"payload index: {len(content)} bytes are too few for a header")
    magic, window_bytes, count, length = HEADER.unpack_from(content)
    if magic != MAGIC:
        raise PayloadError(f"payload index: {MAGIC!r} was expected at its start, {magic!r} found")
    check_header(window_bytes, count, length, bounds)
    if len(content) != HEADER.size + count * ENTRY.size:
        raise PayloadError(f"payload index: {len(content)} bytes do not hold {count} windows")
    return place_rows(_rows(content), window_bytes, bounds)


class Row(NamedTuple):
    """An entry as an index has it: not checked yet, and its place in the image follows from the others."""

    sha256: bytes
    kind: int
    further: int
    record_length: int
    record_offset: int
    record_sha256: bytes
    references: bytes


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an index must stay inside of; a full payload has no base.

    `record_overhead` is what encryption adds to each record.
    """

    image_bytes: int
    payload_bytes: int
    base_bytes: int | None
    record_overhead: int = 0


def check_sha256(content: bytes, sha256: str) -> None:
    """Raise `PayloadError` when this is not the index that the release manifest names."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise PayloadError(
            f"payload index: SHA-256 {sha256[:16]} was expected, {found[:16]} found; "
            "the mirror serves other bytes than the release names"
        )


def check_header(window_bytes: int, count: int, length: int, bounds: Bounds) -> None:
    """Raise `PayloadError` unless these are windows that the image can have."""
    if not WINDOW_BYTES_MIN <= window_bytes <= WINDOW_BYTES_MAX or window_bytes % 512:
        raise PayloadError(f"payload index: windows of {window_bytes} bytes are not supported")
    image_bytes = bounds.image_bytes
    if length != image_bytes or count != -(-image_bytes // window_bytes):
        raise PayloadError(
            f"payload index: an image of {image_bytes} bytes was expected, "
            f"{count} windows for {length} bytes found"
        )


def _rows(content: bytes) -> Iterator[Row]:
    for row in ENTRY.iter_unpack(memoryview(content)[HEADER.size :]):
        sha256, kind, reserved, record_length, record_offset, record_sha256 = row
        if reserved != RESERVED:
            raise PayloadError("payload index: an entry was made for agents that are newer; update")
        yield Row(sha256, kind, 0, record_length, record_offset, record_sha256, b"")


def place_rows(rows: Iterator[Row], window_bytes: int, bounds: Bounds) -> PayloadIndex:
    """Check the entries, which must make every window of the image once. Raises `PayloadError`."""
    entries: list[WindowEntry] = []
    offset = 0
    for row in rows:
        if offset == bounds.image_bytes:
            raise PayloadError("payload index: it has more entries than the image has windows")
        entries.append(_entry(row, offset, window_bytes, bounds))
        offset += entries[-1].length_bytes
    if offset != bounds.image_bytes:
        raise PayloadError(f"payload index: it ends before the window at {offset}")
    return PayloadIndex(window_bytes, bounds.image_bytes, tuple(entries))


def _entry(row: Row, offset: int, window_bytes: int, bounds: Bounds) -> WindowEntry:
    known = FULL_KINDS if bounds.base_bytes is None else frozenset(Kind)
    if row.kind not in known or bool(row.references) is (row.kind in FULL_KINDS):
        raise PayloadError(
            f"payload index: window at {offset} is of kind {row.kind} with "
            f"{len(row.references) // REFERENCE.size} references, "
            "which this agent does not know; publish a full payload beside it or update the agent"
        )
    if row.further:
        _check_run(row, offset, window_bytes, bounds.image_bytes)
    entry = WindowEntry(
        offset=offset,
        length_bytes=min((1 + row.further) * window_bytes, bounds.image_bytes - offset),
        sha256=row.sha256,
        kind=Kind(row.kind),
        record_offset=row.record_offset,
        record_length=row.record_length,
        record_sha256=row.record_sha256,
        packed_references=row.references,
    )
    _check_record(entry, bounds.payload_bytes, bounds.record_overhead)
    if row.references:
        _check_references(entry, bounds)
    return entry


def _check_run(row: Row, offset: int, window_bytes: int, image_bytes: int) -> None:
    sound = row.kind == Kind.COPY and offset > 0 and row.further <= RUN_FURTHER_MAX
    length = (1 + row.further) * window_bytes
    if not sound or length > RUN_BYTES_MAX or offset + row.further * window_bytes >= image_bytes:
        raise PayloadError(
            f"payload index: the window at {offset}, of kind {row.kind}, goes on for {length} bytes; "
            f"a copy behind the first window may, for at most {RUN_BYTES_MAX} inside the image"
        )


def _check_record(entry: WindowEntry, payload_bytes: int, overhead: int) -> None:
    record_length, length = entry.record_length, entry.length_bytes + overhead
    match entry.kind:
        case Kind.ZEROS | Kind.COPY:
            sound = record_length == entry.record_offset == 0
        case Kind.PLAIN:
            sound = record_length == length
        case Kind.ZSTD | Kind.PREFIXED | Kind.DIFFERENCE:
            sound = overhead < record_length <= length + RECORD_SLACK_BYTES
        case _:
            assert_never(entry.kind)
    if not sound or entry.record_offset + record_length > payload_bytes:
        raise PayloadError(
            f"payload index: the record of the window at {entry.offset} "
            f"({record_length} bytes at {entry.record_offset}) is not inside the payload"
        )


def _check_references(entry: WindowEntry, bounds: Bounds) -> None:
    where = f"payload index: the window at {entry.offset}"
    count = len(entry.packed_references) // REFERENCE.size
    if count > REFERENCES_MAX:
        raise PayloadError(f"{where} has {count} references; at most {REFERENCES_MAX} are taken")
    ends = {Source.BASE: bounds.base_bytes or 0, Source.IMAGE: entry.offset}
    gathered = 0
    for source, length, offset in REFERENCE.iter_unpack(entry.packed_references):
        inside = offset == 0 if source == Source.ZEROS else offset + length <= ends.get(source, -1)
        if not inside or not length:
            raise PayloadError(
                f"{where} refers to {length} bytes at {offset} of source {source}, "
                "which it cannot have"
            )
        gathered += length
    if not _gathers_what_it_needs(entry, gathered):
        raise PayloadError(f"{where} gathers {gathered} bytes, which its kind cannot use")


def _gathers_what_it_needs(entry: WindowEntry, gathered: int) -> bool:
    match entry.kind:
        case Kind.ZEROS | Kind.PLAIN | Kind.ZSTD:
            return gathered == 0
        case Kind.COPY:
            return gathered == entry.length_bytes
        case Kind.PREFIXED:
            return PREFIX_BYTES_MIN <= gathered <= PREFIX_BYTES_MAX
        case Kind.DIFFERENCE:
            prefix = gathered - entry.length_bytes
            return prefix == 0 or PREFIX_BYTES_MIN <= prefix <= PREFIX_BYTES_MAX
        case _:
            assert_never(entry.kind)
