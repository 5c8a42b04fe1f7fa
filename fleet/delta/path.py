"""Chooses, cell by cell, which diagonal a window is the least different from.

The cheapest path through cells and diagonals, where each change of the diagonal has its cost too
(Viterbi's algorithm). Several windows go side by side, which costs little more than one.
"""

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.payload import Reference, Source
from fleet.delta.search import CELL_BYTES, Diagonal
from fleet.delta.shingles import Bytes
from fleet.delta.tables import Tables

Costs = NDArray[np.float32]

CHANGE_COST: Final = 30.0
"""For one more reference: two bytes of the packed index, and what zstd then no longer finds repeated.

These costs are as they made the smallest payloads of two root file systems; only how they compare counts.
"""
LITERAL_COST: Final = 20.0
"""For a cell that is like nothing: it is coded as it is, perhaps with a prefix."""
DIFFERENCE_COST: Final = (0.0, 1.2)
"""For a cell that differs at all, and for each byte that does."""
OUT_OF_REACH: Final = 1e6


def costs(tables: Tables, start: int, end: int, diagonals: list[Diagonal]) -> Costs:
    """One row for each diagonal, and a last one for zeros, of a cost for each cell of the window."""
    window = np.ascontiguousarray(tables.image[start:end])
    rows = np.full((len(diagonals) + 1, len(window) // CELL_BYTES), OUT_OF_REACH, np.float32)
    for row, diagonal in zip(rows, diagonals, strict=False):
        content = tables.base if diagonal.source is Source.BASE else tables.image
        limit = len(content) if diagonal.source is Source.BASE else start
        low = -(-max(0, -(start + diagonal.shift)) // CELL_BYTES) * CELL_BYTES
        high = min(len(window), limit - start - diagonal.shift) // CELL_BYTES * CELL_BYTES
        if low < high:
            there = content[start + diagonal.shift + low : start + diagonal.shift + high]
            row[low // CELL_BYTES : high // CELL_BYTES] = _cost(window[low:high] != there)
    filled = _count(window != 0)
    rows[-1] = np.where(filled > 0, LITERAL_COST * np.minimum(1, filled / 16 + 0.1), 0)
    return rows


def _cost(different: NDArray[np.bool_]) -> Costs:
    count = _count(different)
    first, each = DIFFERENCE_COST
    cost: Costs = np.where(count > 0, first + each * count, 0).astype(np.float32)
    return cost


def _count(marks: NDArray[np.bool_]) -> Costs:
    """How many marks each cell has: eight are added at once, as the bytes of one whole number."""
    words = marks.view(np.uint64).reshape(-1, CELL_BYTES // 8).sum(axis=1)
    counts: Costs = (words * np.uint64(0x0101010101010101) >> np.uint64(56)).astype(np.float32)
    return counts


def cheapest(windows: list[Costs]) -> list[NDArray[np.int64]]:
    """For each window the row of every cell on its cheapest path."""
    rows = max(one.shape[0] for one in windows)
    cells = max(one.shape[1] for one in windows)
    cost = np.full((cells, len(windows), rows), OUT_OF_REACH, np.float32)
    for number, one in enumerate(windows):
        cost[: one.shape[1], number, : one.shape[0]] = one.T
        cost[one.shape[1] :, number, :] = 0
    stays = np.empty((cells, len(windows), rows), np.bool_)
    best_before = np.zeros((cells, len(windows)), np.int64)
    total = np.zeros((len(windows), rows), np.float32)
    for cell in range(cells):
        best_before[cell] = total.argmin(axis=1)
        least = total.min(axis=1, keepdims=True)
        total -= least
        np.less_equal(total, CHANGE_COST, out=stays[cell])
        np.minimum(total, CHANGE_COST, out=total)
        total += cost[cell]
    return [
        _back(stays[:, number], best_before[:, number], total[number])[: one.shape[1]]
        for number, one in enumerate(windows)
    ]


def _back(
    stays: NDArray[np.bool_], best_before: NDArray[np.int64], total: NDArray[np.float32]
) -> NDArray[np.int64]:
    row = int(total.argmin())
    path = np.empty(len(stays), np.int64)
    for cell in range(len(stays) - 1, -1, -1):
        path[cell] = row
        if not stays[cell, row]:
            row = int(best_before[cell])
    return path


def references(diagonals: list[Diagonal], path: NDArray[np.int64], start: int) -> list[Reference]:
    """The ranges along a path, one behind the other."""
    edges = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist(), len(path)]
    found = []
    for first, last in pairwise(edges):
        length = (last - first) * CELL_BYTES
        if path[first] == len(diagonals):
            found.append(Reference(Source.ZEROS, length, 0))
        else:
            diagonal = diagonals[path[first]]
            offset = start + first * CELL_BYTES + diagonal.shift
            found.append(Reference(diagonal.source, length, offset))
    return found


def gather(tables: Tables, wanted: list[Reference]) -> Bytes:
    """The bytes of references, one behind the other."""
    parts = [np.empty(0, np.uint8)]
    for one in wanted:
        if one.source is Source.ZEROS:
            parts.append(np.zeros(one.length_bytes, np.uint8))
        else:
            content = tables.base if one.source is Source.BASE else tables.image
            parts.append(content[one.offset : one.offset + one.length_bytes])
    return np.concatenate(parts)
