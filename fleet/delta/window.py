"""The smallest coding of a window among those that its references allow."""

import sys
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.payload import (
    PREFIX_BYTES_MIN,
    REFERENCES_MAX,
    REFERENCES_MEAN_MAX,
    Kind,
    Reference,
    pack_references,
)
from fleet.delta.path import cheapest, costs, gather, references
from fleet.delta.search import CELL_BYTES, Hits, diagonals, find_hits, prefix
from fleet.delta.tables import Tables

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Marks = NDArray[np.bool_]
"""One for each cell of a window."""

LEVEL: Final = 22
DEAR_COST: Final = 2.0
"""A cell that costs more may be helped by a prefix."""
WINDOW_LOG_MAX: Final = 23
"""What devices have memory for."""
REFERENCE_COST: Final = 2
"""Bytes of the packed index."""
FEW_REFERENCES: Final = min(REFERENCES_MAX, REFERENCES_MEAN_MAX)
GOOD_ENOUGH: Final = 0.1
"""A difference that is this part of the full record is not worth comparing with anything else."""


@dataclass(frozen=True, slots=True)
class Span:
    """A window that is to be coded, and how long its record in the full payload is."""

    start: int
    end: int
    full_bytes: int


@dataclass(frozen=True, slots=True)
class Coding:
    """One way to make a window."""

    kind: Kind
    record: bytes
    references: bytes

    @property
    def cost_bytes(self) -> float:
        """What it adds to the payload."""
        return len(self.record) + len(self.references) / 16 * REFERENCE_COST


def code_windows(tables: Tables, spans: list[Span]) -> list[Coding | None]:
    """The best coding of each window, None where the full payload's is better."""
    hits = [find_hits(tables, span.start, span.end) for span in spans]
    chosen = [diagonals(one, span.start) for one, span in zip(hits, spans, strict=True)]
    priced = [
        costs(tables, span.start, span.end, one) for one, span in zip(chosen, spans, strict=True)
    ]
    paths = cheapest(priced)
    codings: list[Coding | None] = []
    for number, span in enumerate(spans):
        base = references(chosen[number], paths[number], span.start)
        cells = np.arange(len(paths[number]))
        dear = priced[number][paths[number], cells] > DEAR_COST
        codings.append(_smallest(tables, span, hits[number], base, dear))
    return codings


def _smallest(
    tables: Tables, span: Span, hits: Hits, base: list[Reference], dear: Marks
) -> Coding | None:
    best: Coding | None = None
    if len(base) <= FEW_REFERENCES - 1:
        best = _difference(tables, span, base, _prefix(tables, span, hits, dear))
    if best is None or best.cost_bytes > GOOD_ENOUGH * span.full_bytes:
        everything = np.ones((span.end - span.start) // CELL_BYTES, np.bool_)
        other = _prefixed(tables, span, _prefix(tables, span, hits, everything))
        if other and (best is None or other.cost_bytes < best.cost_bytes):
            best = other
    return best if best and best.cost_bytes < span.full_bytes else None


def _prefix(tables: Tables, span: Span, hits: Hits, dear: Marks) -> list[Reference]:
    return prefix(tables, hits, span.start, dear) if dear.any() else []


def _difference(
    tables: Tables, span: Span, base: list[Reference], before: list[Reference]
) -> Coding:
    window = tables.image[span.start : span.end]
    difference = window - gather(tables, base)
    if not difference.any():
        return Coding(Kind.COPY, b"", pack_references(base))
    before = before[: FEW_REFERENCES - len(base)]
    record = compress(difference.tobytes(), gather(tables, before).tobytes())
    return Coding(Kind.DIFFERENCE, record, pack_references([*base, *before]))


def _prefixed(tables: Tables, span: Span, before: list[Reference]) -> Coding | None:
    before = before[:FEW_REFERENCES]
    known = gather(tables, before).tobytes()
    if len(known) < PREFIX_BYTES_MIN:
        return None
    record = compress(tables.image[span.start : span.end].tobytes(), known)
    return Coding(Kind.PREFIXED, record, pack_references(before))


def compress(content: bytes, prefix_bytes: bytes) -> bytes:
    """One zstd frame whose window holds the prefix and the content, and no more."""
    reach = len(content) + len(prefix_bytes)
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: LEVEL,
        zstd.CompressionParameter.window_log: min(
            WINDOW_LOG_MAX, max(10, (reach - 1).bit_length())
        ),
        zstd.CompressionParameter.content_size_flag: 1,
        zstd.CompressionParameter.checksum_flag: 0,
    }
    known = zstd.ZstdDict(prefix_bytes, is_raw=True).as_prefix if prefix_bytes else None
    return zstd.compress(content, options=options, zstd_dict=known)
