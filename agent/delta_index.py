"""The index of a delta payload, which travels packed: its numbers in columns. Pure; `docs/payload.md`.

What is alike stands together and offsets are told as differences, so that zstd makes a half of what it
makes of rows. Layout, little-endian:

    packed    8s magic "LKGDLT02" | u32 length of the columns | one zstd frame with the columns
    columns   u32 window_bytes | u32 window_count | u64 image_bytes | u32 entry_count
              for all entries: u8 kind | u8 further windows | u16 beside_count | u16 before_count
              | u32 record_length | 32s SHA-256 of the window, for a run that of those of its windows
              for entries with a record: 32s SHA-256 of the record
              for all references: u8 source | u32 length
              for all but those to zeros: u64 step

Every number of more than one byte stands in planes: the lowest bytes of all, then the next ones, and so
on. First come all references `beside` a window, which it is copied or differs from, then all `before`
one, its prefix; each in the order of the entries. `_references` says what a step is. Records stand in
the payload in the order of the entries, without gaps, from the end of the packed index on.
"""

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agent.decompress import decompress
from agent.encryption import TAG_BYTES
from agent.errors import PayloadError
from agent.payload import (
    INDEX_BYTES_MAX,
    REFERENCE,
    REFERENCES_MEAN_MAX,
    SHA256_BYTES,
    WINDOW_BYTES_MIN,
    Bounds,
    PayloadIndex,
    Row,
    Source,
    Unseal,
    check_header,
    check_sha256,
    place_rows,
)

PACKED_MAGIC: Final = b"LKGDLT02"
PACKED: Final = struct.Struct("<8sI")
COLUMNS: Final = struct.Struct("<IIQI")
WIDTHS: Final = {"B": 1, "H": 2, "I": 4, "Q": 8}
"""The bytes of one number of each kind of column."""
ENTRY_BYTES_MAX: Final = 2 * 1 + 2 * 2 + 4 + 2 * SHA256_BYTES
REFERENCE_BYTES_MAX: Final = 1 + 4 + 8
OFFSET_END: Final = 2**64
NO_RECORD: Final = bytes(SHA256_BYTES)


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
    check_sha256(content, sha256)
    bounds = Bounds(image_bytes, payload_bytes, base_bytes, TAG_BYTES if unseal else 0)
    packed = unseal(content) if unseal else content
    columns = _Columns(_unpacked(packed, image_bytes))
    window_bytes, count, length, entries = COLUMNS.unpack(columns.take(COLUMNS.size))
    check_header(window_bytes, count, length, bounds)
    if not 0 < entries <= count:
        raise PayloadError(f"delta index: at most {count} entries were expected, {entries} found")
    rows = _rows(columns, entries, count, len(content))
    index = place_rows(rows, window_bytes, bounds)
    columns.check_end()
    return index


def _unpacked(packed: bytes, image_bytes: int) -> bytes:
    if len(packed) < PACKED.size:
        raise PayloadError(f"delta index: {len(packed)} bytes are too few for a header")
    magic, length = PACKED.unpack_from(packed)
    if magic != PACKED_MAGIC:
        raise PayloadError(
            f"delta index: {PACKED_MAGIC!r} was expected first, {magic!r} found; publish a full payload "
            "beside it or update the agent"
        )
    windows_max = -(-image_bytes // WINDOW_BYTES_MIN)
    each = ENTRY_BYTES_MAX + REFERENCES_MEAN_MAX * REFERENCE_BYTES_MAX
    if not COLUMNS.size <= length <= min(INDEX_BYTES_MAX, COLUMNS.size + windows_max * each):
        raise PayloadError(f"delta index: an index of {length} bytes is longer than any may be")
    return decompress(packed[PACKED.size :], length)


@dataclass(slots=True)
class _Columns:
    """Takes column after column. Raises `PayloadError` at the end."""

    content: bytes
    position: int = 0

    def take(self, length_bytes: int) -> bytes:
        """The next bytes."""
        part = self.content[self.position : self.position + length_bytes]
        if len(part) != length_bytes:
            raise PayloadError(f"delta index: it ends after {len(self.content)} bytes, too early")
        self.position += length_bytes
        return part

    def numbers(self, count: int, kind: str) -> "array[int]":
        """So many numbers, their planes put together again."""
        width = WIDTHS[kind]
        planes = self.take(count * width)
        together = bytearray(len(planes))
        for plane in range(width):
            together[plane::width] = planes[plane * count : (plane + 1) * count]
        numbers = array(kind, bytes(together))
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers

    def check_end(self) -> None:
        """See that nothing is left."""
        if self.position != len(self.content):
            raise PayloadError(
                f"delta index: {self.position} bytes were expected, {len(self.content)} found"
            )


def _rows(columns: _Columns, entries: int, windows: int, records_start: int) -> Iterator[Row]:
    """Every entry in order. Raises `PayloadError` for more references than a device has room for."""
    kinds, further = columns.numbers(entries, "B"), columns.numbers(entries, "B")
    beside, before = columns.numbers(entries, "H"), columns.numbers(entries, "H")
    lengths = columns.numbers(entries, "I")
    hashes = columns.take(SHA256_BYTES * entries)
    record_hashes = columns.take(SHA256_BYTES * (entries - lengths.count(0)))
    first, second, record = 0, sum(beside), 0
    total = second + sum(before)
    if total > min(REFERENCES_MEAN_MAX * windows, INDEX_BYTES_MAX // REFERENCE.size):
        raise PayloadError(f"delta index: {total} references are more than a device has room for")
    references = _references(columns, total)
    for number, length in enumerate(lengths):
        yield Row(
            sha256=_part(hashes, number, 1, SHA256_BYTES),
            kind=kinds[number],
            further=further[number],
            record_length=length,
            record_offset=records_start if length else 0,
            record_sha256=_part(record_hashes, record, 1, SHA256_BYTES) if length else NO_RECORD,
            references=_part(references, first, beside[number], REFERENCE.size)
            + _part(references, second, before[number], REFERENCE.size),
        )
        first += beside[number]
        second += before[number]
        record += length > 0
        records_start += length


def _part(rows: bytes, first: int, count: int, row_bytes: int) -> bytes:
    return rows[first * row_bytes : (first + count) * row_bytes]


def _references(columns: _Columns, total: int) -> bytes:
    """All references, as entries hold them.

    A reference is expected where the one before it of the same source would go on, if that were as long
    as all references since. The step is how far off it is, with its sign in the lowest bit.
    """
    sources = columns.take(total)
    if total and max(sources) > max(Source):
        raise PayloadError(f"delta index: {max(sources)} is no source that this agent knows")
    lengths = columns.numbers(total, "I")
    steps = iter(columns.numbers(total - sources.count(Source.ZEROS), "Q"))
    rows = bytearray(total * REFERENCE.size)
    shifts = [0, 0]
    place = 0
    for number, (source, length) in enumerate(zip(sources, lengths, strict=True)):
        offset = 0
        if source != Source.ZEROS:
            step = next(steps)
            shifts[source] += step >> 1 ^ -(step & 1)
            offset = place + shifts[source]
            if not 0 <= offset < OFFSET_END:
                raise PayloadError(f"delta index: a reference to byte {offset} of source {source}")
        REFERENCE.pack_into(rows, number * REFERENCE.size, source, length, offset)
        place += length
    return bytes(rows)
