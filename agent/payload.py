"""The payload: one encoding of an image for transport, `index || data`. Pure; `docs/payload.md`.

The index says for every window of the image what its SHA-256 is and how to get it. The index's own
SHA-256 is in the signed release manifest, so all that follows from it is trusted. Every data record is
checked against its SHA-256 before anything interprets it, and every window before it is written.

Layout, little-endian:

    header   8s magic "LKGPAY01" | u32 window_bytes | u32 window_count | u64 image_bytes
    entry    32s SHA-256 of the window | u8 kind | u8 reserved, 0 | u16 reference_count
             | u32 record_length | u64 record_offset | 32s SHA-256 of the record
             | reference_count times: u8 source | u8[3] reserved, 0 | u32 length | u64 offset

`record_offset` counts from the start of the payload. A window of zeros has no record: all of its record
fields are zero. The last window is as long as the image's rest.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, assert_never

from agent.errors import PayloadError

MAGIC: Final = b"LKGPAY01"
HEADER: Final = struct.Struct("<8sIIQ")
ENTRY: Final = struct.Struct("<32sBBHIQ32s")
REFERENCE: Final = struct.Struct("<B3xIQ")
WINDOW_BYTES: Final = 256 * 1024
"""The window that the encoder uses; memory on the device is a few of these."""
WINDOW_BYTES_MAX: Final = 4 * 1024 * 1024
WINDOW_BYTES_MIN: Final = 512
RECORD_SLACK_BYTES: Final = 4096
"""How much longer than its window a record may be: a coder's frame around what does not compress."""
INDEX_BYTES_MAX: Final = 64 * 1024 * 1024


class Kind(IntEnum):
    """How a window is made. A payload with a kind that an agent does not know is not used by it."""

    ZEROS = 0
    PLAIN = 1
    ZSTD = 2


@dataclass(frozen=True, slots=True)
class WindowEntry:
    """One window of the image: where it goes, what it must hash to, and how to get it."""

    offset: int
    length_bytes: int
    sha256: bytes
    kind: Kind
    record_offset: int
    record_length: int
    record_sha256: bytes


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


def encode_index(index: PayloadIndex) -> bytes:
    """The bytes of an index; `parse_index` reads them back."""
    rows = [HEADER.pack(MAGIC, index.window_bytes, len(index.entries), index.image_bytes)]
    rows += [
        ENTRY.pack(
            entry.sha256,
            entry.kind,
            0,
            0,
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
    content: bytes, *, sha256: str, image_bytes: int, payload_bytes: int
) -> PayloadIndex:
    """The index in these bytes, if they are those that the release manifest vouches for.

    Raises `PayloadError` for another hash, and for anything that points outside the image or the
    payload: an index that lies is refused before the first write even when it is signed.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise PayloadError(
            f"payload index: SHA-256 {sha256[:16]} was expected, {found[:16]} found; "
            "the mirror serves other bytes than the release names"
        )
    if len(content) < HEADER.size:
        raise PayloadError(f"payload index: {len(content)} bytes are too few for a header")
    magic, window_bytes, count, length = HEADER.unpack_from(content)
    if magic != MAGIC:
        raise PayloadError(f"payload index: {MAGIC!r} was expected at its start, {magic!r} found")
    if not WINDOW_BYTES_MIN <= window_bytes <= WINDOW_BYTES_MAX or window_bytes % 512:
        raise PayloadError(f"payload index: windows of {window_bytes} bytes are not supported")
    if length != image_bytes or count != -(-image_bytes // window_bytes):
        raise PayloadError(
            f"payload index: an image of {image_bytes} bytes was expected, "
            f"{count} windows for {length} bytes found"
        )
    if len(content) != HEADER.size + count * ENTRY.size:
        raise PayloadError(f"payload index: {len(content)} bytes do not hold {count} entries")
    entries = tuple(
        _entry(content, HEADER.size + position * ENTRY.size, offset, length, payload_bytes)
        for position, (offset, length) in enumerate(window_lengths(image_bytes, window_bytes))
    )
    return PayloadIndex(window_bytes=window_bytes, image_bytes=image_bytes, entries=entries)


def _entry(
    content: bytes, position: int, offset: int, length: int, payload_bytes: int
) -> WindowEntry:
    row = ENTRY.unpack_from(content, position)
    sha256, kind, reserved, references, record_length, record_offset, record_sha256 = row
    if kind not in Kind.__members__.values() or reserved or references:
        raise PayloadError(
            f"payload index: window at {offset} is of kind {kind}, which this agent does not know; "
            "publish a full payload beside it or update the agent"
        )
    entry = WindowEntry(
        offset=offset,
        length_bytes=length,
        sha256=sha256,
        kind=Kind(kind),
        record_offset=record_offset,
        record_length=record_length,
        record_sha256=record_sha256,
    )
    match entry.kind:
        case Kind.ZEROS:
            sound = record_length == record_offset == 0
        case Kind.PLAIN:
            sound = record_length == length
        case Kind.ZSTD:
            sound = 0 < record_length <= length + RECORD_SLACK_BYTES
        case _:
            assert_never(entry.kind)
    if not sound or record_offset + record_length > payload_bytes:
        raise PayloadError(
            f"payload index: the record of the window at {offset} "
            f"({record_length} bytes at {record_offset}) is not inside the payload"
        )
    return entry
