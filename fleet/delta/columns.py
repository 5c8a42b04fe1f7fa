"""Writes the index of a delta payload in columns; `agent/delta_index.py` has the layout and reads them."""

import struct
from collections.abc import Iterable

from agent.delta_index import COLUMNS, PACKED, PACKED_MAGIC
from agent.payload import Kind, PayloadIndex, Reference, Source, WindowEntry
from fleet.delta.window import compress


def pack_index(index: PayloadIndex) -> bytes:
    """The index of a delta payload as it travels. Offsets of records follow from their lengths."""
    columns = encode_columns(index)
    return PACKED.pack(PACKED_MAGIC, len(columns)) + compress(columns, b"")


def encode_columns(index: PayloadIndex) -> bytes:
    """All numbers of the index, column after column."""
    entries = index.entries
    parts = [_parted(entry) for entry in entries]
    windows = -(-index.image_bytes // index.window_bytes)
    references = [one for beside, _ in parts for one in beside]
    references += [one for _, before in parts for one in before]
    return b"".join(
        (
            COLUMNS.pack(index.window_bytes, windows, index.image_bytes, len(entries)),
            _planes((entry.kind for entry in entries), "B"),
            _planes(((one.length_bytes - 1) // index.window_bytes for one in entries), "B"),
            _planes((len(beside) for beside, _ in parts), "H"),
            _planes((len(before) for _, before in parts), "H"),
            _planes((entry.record_length for entry in entries), "I"),
            *(entry.sha256 for entry in entries),
            *(entry.record_sha256 for entry in entries if entry.record_length),
            _planes((one.source for one in references), "B"),
            _planes((one.length_bytes for one in references), "I"),
            _planes(_steps(references), "Q"),
        )
    )


def _planes(numbers: Iterable[int], kind: str) -> bytes:
    """The lowest bytes of all numbers, then the next ones, and so on."""
    wanted = list(numbers)
    rows = struct.pack(f"<{len(wanted)}{kind}", *wanted)
    width = struct.calcsize(f"<{kind}")
    return b"".join(rows[plane::width] for plane in range(width))


def _parted(entry: WindowEntry) -> tuple[list[Reference], list[Reference]]:
    """The references to bytes beside those of the window, and those to bytes before them: the prefix."""
    beside: list[Reference] = []
    before: list[Reference] = []
    left = 0 if entry.kind is Kind.PREFIXED else entry.length_bytes
    for reference in entry.references():
        (beside if left > 0 else before).append(reference)
        left -= reference.length_bytes
    return beside, before


def _steps(references: list[Reference]) -> Iterable[int]:
    """How far each reference is off where it was expected, twice, and one less when that is negative."""
    shifts = [0, 0]
    place = 0
    for one in references:
        if one.source is not Source.ZEROS:
            step = one.offset - place - shifts[one.source]
            shifts[one.source] += step
            yield step << 1 if step >= 0 else (-step << 1) - 1
        place += one.length_bytes
