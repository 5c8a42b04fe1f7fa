"""Indexes of deltas, right or wrong, written apart from the encoder by what `docs/payload.md` says."""

from collections.abc import Iterable
from dataclasses import dataclass

from backports import zstd

from agent.payload import Kind, Source

Reference = tuple[int, int, int]
"""Source, length, offset."""


@dataclass(frozen=True, slots=True)
class Draft:
    """One entry."""

    kind: int
    further: int = 0
    beside: tuple[Reference, ...] = ()
    before: tuple[Reference, ...] = ()
    record_length: int = 0


ZEROS = Draft(Kind.ZEROS)


def copy(length: int, offset: int = 0, *, windows: int = 1, source: Source = Source.BASE) -> Draft:
    """A window, or a run of them, that is copied from one place."""
    return Draft(Kind.COPY, windows - 1, ((source, length, offset),))


def columns(
    drafts: Iterable[Draft], image_bytes: int, window_bytes: int = 512, entries: int | None = None
) -> bytes:
    """The columns of these entries; hashes are of zeros."""
    rows = list(drafts)
    references = [one for row in rows for one in row.beside]
    references += [one for row in rows for one in row.before]
    parts = [
        window_bytes.to_bytes(4, "little"),
        (-(-image_bytes // window_bytes)).to_bytes(4, "little"),
        image_bytes.to_bytes(8, "little"),
        (len(rows) if entries is None else entries).to_bytes(4, "little"),
        planes(1, (row.kind for row in rows)),
        planes(1, (row.further for row in rows)),
        planes(2, (len(row.beside) for row in rows)),
        planes(2, (len(row.before) for row in rows)),
        planes(4, (row.record_length for row in rows)),
        bytes(32) * (len(rows) + sum(row.record_length > 0 for row in rows)),
        planes(1, (source for source, _, _ in references)),
        planes(4, (length for _, length, _ in references)),
        planes(8, steps(references)),
    ]
    return b"".join(parts)


def planes(width: int, numbers: Iterable[int]) -> bytes:
    """Little-endian numbers, all first bytes first."""
    rows = [number.to_bytes(width, "little") for number in numbers]
    return bytes(row[plane] for plane in range(width) for row in rows)


def steps(references: Iterable[Reference]) -> Iterable[int]:
    """What is told of each offset, but for those to zeros."""
    shifts: dict[int, int] = {}
    place = 0
    for source, length, offset in references:
        if source != Source.ZEROS:
            step = offset - place - shifts.get(source, 0)
            shifts[source] = offset - place
            yield 2 * step if step >= 0 else -2 * step - 1
        place += length


def packed(content: bytes, length: int | None = None) -> bytes:
    """Columns as they travel."""
    told = len(content) if length is None else length
    return b"LKGDLT02" + told.to_bytes(4, "little") + zstd.compress(content)
