"""The payload: one encoding of an image for transport, `index || data`. Pure; `docs/payload.md`.

The index says for every window of the image what its SHA-256 is and how to get it. The index's own
SHA-256 is in the signed release manifest, so all that follows from it is trusted. Every data record is
checked against its SHA-256 before anything interprets it, and every window before it is written.

Layout, little-endian:

    header   8s magic "LKGPAY01" | u32 window_bytes | u32 window_count | u64 image_bytes
    entry    32s SHA-256 of what it makes | u8 kind | u8 further windows | u16 reference_count
             | u32 record_length | u64 record_offset | 32s SHA-256 of the record
             | reference_count times: u8 source | u8[3] reserved, 0 | u32 length | u64 offset

`record_offset` counts from the start of the payload. A window without a record has zeros in all of its
record fields. The last window is as long as the image's rest. An entry of kind `copy` may be a run: it
makes its window and up to 15 further ones, at most 4 MiB, and never the image's first window with others.

A full payload has no references. A delta payload, made against one base image, may; its index travels
packed, and the hash in the manifest is that of the packed bytes:

    packed   8s magic "LKGDLT01" | u32 length of the index | one zstd frame with the index

There `record_offset` counts from the end of the packed index.
"""

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, assert_never

from agent.decompress import decompress
from agent.encryption import TAG_BYTES
from agent.errors import PayloadError

MAGIC: Final = b"LKGPAY01"
PACKED_MAGIC: Final = b"LKGDLT01"
PACKED: Final = struct.Struct("<8sI")
HEADER: Final = struct.Struct("<8sIIQ")
ENTRY: Final = struct.Struct("<32sBBHIQ32s")
REFERENCE: Final = struct.Struct("<B3xIQ")
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


@dataclass(frozen=True, slots=True)
class Reference:
    """A range of bytes that the device has already."""

    source: Source
    length_bytes: int
    offset: int


@dataclass(frozen=True, slots=True)
class WindowEntry:
    """A window of the image, or a run of them: where it goes, its SHA-256, and how to get it."""

    offset: int
    length_bytes: int
    sha256: bytes
    kind: Kind
    record_offset: int
    record_length: int
    record_sha256: bytes
    packed_references: bytes = b""
    """As in the index: small, since there are tens of thousands of them."""

    def references(self) -> Iterator[Reference]:
        """The ranges whose bytes are gathered, one behind the other."""
        for source, length, offset in REFERENCE.iter_unpack(self.packed_references):
            yield Reference(SOURCES[source], length, offset)


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


def pack_references(references: Iterable[Reference]) -> bytes:
    """References as an entry holds them."""
    return b"".join(REFERENCE.pack(one.source, one.length_bytes, one.offset) for one in references)


def encode_index(index: PayloadIndex) -> bytes:
    """The bytes of an index; `parse_index` reads them back."""
    windows = -(-index.image_bytes // index.window_bytes)
    rows = [HEADER.pack(MAGIC, index.window_bytes, windows, index.image_bytes)]
    rows += [
        ENTRY.pack(
            entry.sha256,
            entry.kind,
            (entry.length_bytes - 1) // index.window_bytes,
            len(entry.packed_references) // REFERENCE.size,
            entry.record_length,
            entry.record_offset,
            entry.record_sha256,
        )
        + entry.packed_references
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
    _check_sha256(content, sha256)
    bounds = _Bounds(image_bytes, payload_bytes, None, 0, TAG_BYTES if unseal else 0)
    return _parse(unseal(content) if unseal else content, bounds)


def parse_delta_index(
    content: bytes,
    *,
    sha256: str,
    image_bytes: int,
    payload_bytes: int,
    base_bytes: int,
    unseal: Unseal | None = None,
) -> PayloadIndex:
    """The index of a delta payload, unpacked; no reference leaves the base or what comes before.

    Raises `PayloadError` as `parse_index` does.
    """
    _check_sha256(content, sha256)
    bounds = _Bounds(
        image_bytes, payload_bytes, base_bytes, len(content), TAG_BYTES if unseal else 0
    )
    content = unseal(content) if unseal else content
    if len(content) < PACKED.size:
        raise PayloadError(f"delta index: {len(content)} bytes are too few for a header")
    magic, length = PACKED.unpack_from(content)
    if magic != PACKED_MAGIC:
        raise PayloadError(f"delta index: {PACKED_MAGIC!r} was expected first, {magic!r} found")
    windows_max = -(-image_bytes // WINDOW_BYTES_MIN)
    if not HEADER.size <= length <= min(INDEX_BYTES_MAX, _length_max(windows_max)):
        raise PayloadError(f"delta index: an index of {length} bytes is longer than any may be")
    unpacked = decompress(content[PACKED.size :], length)
    return _parse(unpacked, bounds)


def _length_max(windows: int) -> int:
    return HEADER.size + windows * (ENTRY.size + REFERENCES_MEAN_MAX * REFERENCE.size)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What an index must stay inside of, and where offsets count from; a full payload has no base.

    `record_overhead` is what encryption adds to each record.
    """

    image_bytes: int
    payload_bytes: int
    base_bytes: int | None
    records_start: int = 0
    record_overhead: int = 0


def _check_sha256(content: bytes, sha256: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise PayloadError(
            f"payload index: SHA-256 {sha256[:16]} was expected, {found[:16]} found; "
            "the mirror serves other bytes than the release names"
        )


def _parse(content: bytes, bounds: _Bounds) -> PayloadIndex:
    if len(content) < HEADER.size:
        raise PayloadError(f"payload index: {len(content)} bytes are too few for a header")
    magic, window_bytes, count, length = HEADER.unpack_from(content)
    if magic != MAGIC:
        raise PayloadError(f"payload index: {MAGIC!r} was expected at its start, {magic!r} found")
    if not WINDOW_BYTES_MIN <= window_bytes <= WINDOW_BYTES_MAX or window_bytes % 512:
        raise PayloadError(f"payload index: windows of {window_bytes} bytes are not supported")
    image_bytes = bounds.image_bytes
    if length != image_bytes or count != -(-image_bytes // window_bytes):
        raise PayloadError(
            f"payload index: an image of {image_bytes} bytes was expected, "
            f"{count} windows for {length} bytes found"
        )
    if bounds.base_bytes is None:
        sound = len(content) == HEADER.size + count * ENTRY.size
    else:
        sound = len(content) <= _length_max(count)
    if not sound:
        raise PayloadError(f"payload index: {len(content)} bytes do not hold {count} windows")
    entries: list[WindowEntry] = []
    position, offset = HEADER.size, 0
    while offset < image_bytes:
        entry = _entry(content, position, offset, window_bytes, bounds)
        position += ENTRY.size + len(entry.packed_references)
        offset += entry.length_bytes
        entries.append(entry)
    if position != len(content):
        raise PayloadError(f"payload index: {len(content)} bytes do not hold {count} windows")
    return PayloadIndex(window_bytes, image_bytes, tuple(entries))


def _entry(
    content: bytes, position: int, offset: int, window_bytes: int, bounds: _Bounds
) -> WindowEntry:
    if len(content) - position < ENTRY.size:
        raise PayloadError(f"payload index: it ends before the window at {offset}")
    row = ENTRY.unpack_from(content, position)
    sha256, kind, further, references, record_length, record_offset, record_sha256 = row
    known = FULL_KINDS if bounds.base_bytes is None else frozenset(Kind)
    if kind not in known or bool(references) is (kind in FULL_KINDS):
        raise PayloadError(
            f"payload index: window at {offset} is of kind {kind} with {references} references, "
            "which this agent does not know; publish a full payload beside it or update the agent"
        )
    if further:
        _check_run(kind, offset, further, window_bytes, bounds.image_bytes)
    after = position + ENTRY.size
    entry = WindowEntry(
        offset=offset,
        length_bytes=min((1 + further) * window_bytes, bounds.image_bytes - offset),
        sha256=sha256,
        kind=Kind(kind),
        record_offset=record_offset + (bounds.records_start if record_length else 0),
        record_length=record_length,
        record_sha256=record_sha256,
        packed_references=content[after : after + references * REFERENCE.size],
    )
    _check_record(entry, bounds.payload_bytes, bounds.record_overhead)
    if references:
        _check_references(entry, references, bounds)
    return entry


def _check_run(kind: int, offset: int, further: int, window_bytes: int, image_bytes: int) -> None:
    """Raise `PayloadError` unless this may be an entry of several windows, which lie in the image."""
    sound = kind == Kind.COPY and offset > 0 and further <= RUN_FURTHER_MAX
    length = (1 + further) * window_bytes
    if not sound or length > RUN_BYTES_MAX or offset + further * window_bytes >= image_bytes:
        raise PayloadError(
            f"payload index: the window at {offset}, of kind {kind}, goes on for {length} bytes; "
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


def _check_references(entry: WindowEntry, count: int, bounds: _Bounds) -> None:
    where = f"payload index: the window at {entry.offset}"
    if count > REFERENCES_MAX or len(entry.packed_references) != count * REFERENCE.size:
        raise PayloadError(f"{where} has {count} references; at most {REFERENCES_MAX} are taken")
    ends = {Source.BASE: bounds.base_bytes or 0, Source.IMAGE: entry.offset}
    gathered = 0
    for position in range(0, len(entry.packed_references), REFERENCE.size):
        row = entry.packed_references[position : position + REFERENCE.size]
        source, length, offset = REFERENCE.unpack(row)
        inside = offset == 0 if source == Source.ZEROS else offset + length <= ends.get(source, -1)
        if not inside or not length or any(row[1:4]):
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
