"""Finds which ranges of the base, and of the image before a window, may help that window."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.payload import PREFIX_BYTES_MAX, Reference, Source
from fleet.delta.shingles import POSITION_MASK, SAMPLED_BITS, SHINGLE_BYTES, Keys, Positions, find
from fleet.delta.tables import BLOCK_BYTES, Tables

CELL_BYTES: Final = 32
"""The smallest range for which a source of its own is looked for."""
DIAGONALS_MAX: Final = 62
NEIGHBOURHOOD_BYTES: Final = 16 * 1024
"""Each of these parts of a window has its own favourites, so that a small file is heard too."""
NEIGHBOURHOOD_FAVOURITES: Final = 4
BLOCK_VOTES: Final = BLOCK_BYTES / 2**SAMPLED_BITS
PREFIX_BLOCKS_MAX: Final = PREFIX_BYTES_MAX // BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class Diagonal:
    """Every byte of the window stands beside the byte of the source that is `shift` further on."""

    source: Source
    shift: int


@dataclass(frozen=True, slots=True)
class Hits:
    """Places of a window that stand elsewhere too; arrays of one length."""

    source: NDArray[np.uint8]
    there: Positions
    here: Positions
    weight: NDArray[np.float32]


def find_hits(tables: Tables, start: int, end: int) -> Hits:
    """All shingles and whole blocks of the window from `start` to `end` that stand elsewhere."""
    own = _samples(tables.samples, start, end)
    base = find(tables.base_keys, tables.base, own, tables.image)
    before = find(tables.image_keys, tables.image, own, tables.image)
    earlier = before[0] + SHINGLE_BYTES <= start
    blocks = np.arange(-(-start // BLOCK_BYTES), end // BLOCK_BYTES)
    blocks = blocks[tables.source[blocks] <= Source.IMAGE]
    place = tables.offset[blocks]
    usable = (tables.source[blocks] == Source.BASE) | (place + BLOCK_BYTES <= start)
    blocks, place = blocks[usable], place[usable]
    sources = (
        np.full(len(base[0]), Source.BASE, np.uint8),
        np.full(int(earlier.sum()), Source.IMAGE, np.uint8),
        tables.source[blocks],
    )
    weights = base[2], before[2][earlier], np.full(len(blocks), BLOCK_VOTES, np.float32)
    return Hits(
        source=np.concatenate(sources),
        there=np.concatenate((base[0], before[0][earlier], place)),
        here=np.concatenate((base[1], before[1][earlier], blocks * BLOCK_BYTES)),
        weight=np.concatenate(weights),
    )


def _samples(samples: Keys, start: int, end: int) -> Keys:
    """The samples are in the order of their positions, which are their lower bits."""
    low, high = (_first_at(samples, position) for position in (start, end))
    return samples[low:high]


def _first_at(samples: Keys, position: int) -> int:
    low, high = 0, len(samples)
    while low < high:
        middle = (low + high) // 2
        if int(samples[middle]) & POSITION_MASK < position:
            low = middle + 1
        else:
            high = middle
    return low


def diagonals(hits: Hits, start: int) -> list[Diagonal]:
    """The diagonals with most votes, of the whole window and of its parts; the same place comes first."""
    shift = hits.there - hits.here
    # One number for each diagonal: its shift and, in the lowest bit, its source.
    names, positions = np.unique(shift * 2 + hits.source, return_inverse=True)
    votes = np.bincount(positions, hits.weight, len(names))
    chosen = {int(Source.BASE): None}
    place = (hits.here - start) // NEIGHBOURHOOD_BYTES
    for part in np.unique(place):
        local = np.bincount(positions[place == part], hits.weight[place == part], len(names))
        for best in np.argsort(-local, kind="stable")[:NEIGHBOURHOOD_FAVOURITES]:
            if local[best] > 0 and len(chosen) < DIAGONALS_MAX:
                chosen.setdefault(int(names[best]))
    for best in np.argsort(-votes, kind="stable"):
        if len(chosen) >= DIAGONALS_MAX:
            break
        chosen.setdefault(int(names[best]))
    return [Diagonal(Source(name & 1), name >> 1) for name in chosen]


def prefix(tables: Tables, hits: Hits, start: int, wanted: NDArray[np.bool_]) -> list[Reference]:
    """The blocks that the cells `wanted` of a window have most in common with, and their neighbours.

    In the order of the sources, so that what belongs together stays so.
    """
    useful = wanted[(hits.here - start) // CELL_BYTES]
    block = hits.there[useful] // BLOCK_BYTES * 2 + hits.source[useful]
    names, positions = np.unique(block, return_inverse=True)
    votes = np.bincount(positions, hits.weight[useful], len(names))
    taken: set[int] = set()
    room = min(PREFIX_BLOCKS_MAX, 8 + int(wanted.sum()) * CELL_BYTES * 4 // BLOCK_BYTES)
    for best in np.argsort(-votes, kind="stable"):
        name = int(names[best])
        for near in (name, name + 2, name - 2):
            if len(taken) < room and _is_inside(tables, near, start):
                taken.add(near)
    return _references(sorted(taken, key=lambda name: (name & 1, name >> 1)))


def _is_inside(tables: Tables, name: int, start: int) -> bool:
    limit = len(tables.base) if name & 1 == Source.BASE else start
    return name >= 0 and ((name >> 1) + 1) * BLOCK_BYTES <= limit


def _references(names: list[int]) -> list[Reference]:
    joined: list[Reference] = []
    for name in names:
        source, offset = Source(name & 1), (name >> 1) * BLOCK_BYTES
        last = joined[-1] if joined else None
        if last and last.source is source and last.offset + last.length_bytes == offset:
            joined[-1] = Reference(source, last.length_bytes + BLOCK_BYTES, last.offset)
        else:
            joined.append(Reference(source, BLOCK_BYTES, offset))
    return joined
