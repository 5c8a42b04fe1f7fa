"""Finds bytes that two images share at any offset: hashes of 16 bytes, one in 32 of them.

A program that was compiled anew shares almost no aligned block with the one before, but most of its
functions; a shingle that is sampled by its own hash is sampled in both, wherever it moved to.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Keys = NDArray[np.uint64]
Positions = NDArray[np.int64]

SHINGLE_BYTES: Final = 16
"""Four instructions of most processors: longer ones rarely have no address inside that moved."""
SAMPLED_BITS: Final = 5
"""One in 32."""
POSITION_BITS: Final = 34
"""Images of up to 16 GiB; the other 30 bits of a key are the hash."""
POSITION_MASK: Final = (1 << POSITION_BITS) - 1
HASH_BITS: Final = 64 - POSITION_BITS
STEP_BYTES: Final = 64 * 1024
"""What is hashed at once stays in the processor's cache."""
FACTORS: Final = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)
SAME_MAX: Final = 24
"""A shingle that is in more places than this says nothing about where to look."""


def sample(content: Bytes, start: int, end: int) -> Keys:
    """The keys of all sampled shingles that begin from `start` to before `end`, by position.

    A key is the shingle's hash in its upper bits and its position in its lower ones.
    """
    return np.concatenate([*_sampled(content, start, end), np.empty(0, np.uint64)])


def _sampled(content: Bytes, start: int, end: int) -> Iterator[Keys]:
    end = min(end, len(content) - SHINGLE_BYTES + 1)
    for position in range(start, end, STEP_BYTES):
        count = min(STEP_BYTES, end - position)
        piece = np.ascontiguousarray(content[position : position + count + SHINGLE_BYTES - 1])
        words = _words(piece)
        total = np.zeros(count, np.uint64)
        for number, factor in enumerate(FACTORS):
            total += words[8 * number : 8 * number + count] * np.uint64(factor)
        taken = np.flatnonzero((total < 1 << (64 - SAMPLED_BITS)) & (total != 0))
        hashes = total[taken] << np.uint64(SAMPLED_BITS) >> np.uint64(POSITION_BITS)
        yield hashes << np.uint64(POSITION_BITS) | (taken + position).astype(np.uint64)


def _words(content: Bytes) -> Keys:
    """The eight bytes that begin at each place, as a whole number."""
    words: Keys = np.ndarray(max(0, len(content) - 7), "<u8", content, 0, (1,))
    return words


def find(
    keys: Keys, content: Bytes, wanted: Keys, own: Bytes
) -> tuple[Positions, Positions, NDArray[np.float32]]:
    """Where the shingles `wanted` of `own` stand in `content`, whose sorted `keys` these are: there and here.

    The weight of each pair is less, the more places a shingle is in. Of some hundred megabytes some
    sixty shingles have the hash of one in a window by chance: bytes decide.
    """
    hashes = wanted >> np.uint64(POSITION_BITS)
    low = np.searchsorted(keys, hashes << np.uint64(POSITION_BITS))
    high = np.searchsorted(
        keys, hashes << np.uint64(POSITION_BITS) | np.uint64(POSITION_MASK), "right"
    )
    counts = high - low
    good = (counts > 0) & (counts <= SAME_MAX)
    low, counts = low[good], counts[good]
    here = np.repeat((wanted[good] & np.uint64(POSITION_MASK)).astype(np.int64), counts)
    offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    there = (keys[np.repeat(low, counts) + offsets] & np.uint64(POSITION_MASK)).astype(np.int64)
    weight = np.repeat(1 / counts, counts).astype(np.float32)
    same = _are_same(content, there, own, here)
    return there[same], here[same], weight[same]


def _are_same(content: Bytes, there: Positions, own: Bytes, here: Positions) -> NDArray[np.bool_]:
    one, other = _words(content), _words(own)
    same: NDArray[np.bool_] = (one[there] == other[here]) & (one[there + 8] == other[here + 8])
    return same
