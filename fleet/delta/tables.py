"""What is known of both images before any window is coded; kept in files that all processes map.

Memory is bounded by the kernel's cache of those files: the images themselves and about a sixth of their
size for the tables.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.payload import Source
from fleet.delta.shingles import Bytes, Keys, Positions, sample

BLOCK_BYTES: Final = 4096
BLOCKS_AT_ONCE: Final = 64
NOWHERE: Final = 255
BASE_FILE: Final = "base"
IMAGE_FILE: Final = "image"


@dataclass(frozen=True, slots=True)
class Tables:
    """Both images, the sampled shingles of each sorted by hash, and where whole blocks stand.

    For the block `n` of the image `source[n]` is a `Source` or `NOWHERE`, `offset[n]` where it is there.
    `samples` are the image's own shingles by position: only those of blocks that stand nowhere else.
    """

    base: Bytes
    image: Bytes
    base_keys: Keys
    image_keys: Keys
    samples: Keys
    source: NDArray[np.uint8]
    offset: Positions


def open_tables(folder: Path) -> Tables:
    """Map what `make_tables` has made."""
    return Tables(
        base=_mapped(folder / BASE_FILE),
        image=_mapped(folder / IMAGE_FILE),
        base_keys=np.load(folder / "base_keys.npy", "r"),
        image_keys=np.load(folder / "image_keys.npy", "r"),
        samples=np.load(folder / "samples.npy", "r"),
        source=np.load(folder / "source.npy", "r"),
        offset=np.load(folder / "offset.npy", "r"),
    )


def make_tables(folder: Path) -> None:
    """Read the files `base` and `image` of a folder, and leave the tables beside them."""
    base, image = _mapped(folder / BASE_FILE), _mapped(folder / IMAGE_FILE)
    source, offset = _whole_blocks(base, image)
    np.save(folder / "source.npy", source)
    np.save(folder / "offset.npy", offset)
    base_keys = sample(base, 0, len(base))
    base_keys.sort()
    np.save(folder / "base_keys.npy", base_keys)
    del base_keys
    parts = [
        sample(image, int(start) * BLOCK_BYTES, int(end) * BLOCK_BYTES)
        for start, end in _runs(source == NOWHERE)
    ]
    samples = np.concatenate([*parts, np.empty(0, np.uint64)])
    np.save(folder / "samples.npy", samples)
    samples.sort()
    np.save(folder / "image_keys.npy", samples)


def _mapped(path: Path) -> Bytes:
    return np.memmap(path, np.uint8, "r")


def _whole_blocks(base: Bytes, image: Bytes) -> tuple[NDArray[np.uint8], Positions]:
    """Where each block of the image stands as a whole: at its own place in the base, else the first."""
    base_hashes, image_hashes = _block_hashes(base), _block_hashes(image)
    source = np.full(-(-len(image) // BLOCK_BYTES), NOWHERE, np.uint8)
    offset = np.zeros(len(source), np.int64)
    first_in = {Source.BASE: _first(base_hashes), Source.IMAGE: _first(image_hashes)}
    contents = {Source.BASE: base, Source.IMAGE: image}
    for number, wanted in enumerate(image_hashes.tolist()):
        block = image[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]
        if wanted == 0 and not block.any():
            source[number] = Source.ZEROS
            continue
        places = []
        if number < len(base_hashes) and base_hashes[number] == wanted:
            places.append((Source.BASE, number))
        places += [(one, first_in[one][wanted]) for one in first_in if wanted in first_in[one]]
        for where, at in places:
            if where is Source.IMAGE and at >= number:
                continue
            if np.array_equal(contents[where][at * BLOCK_BYTES : (at + 1) * BLOCK_BYTES], block):
                source[number], offset[number] = where, at * BLOCK_BYTES
                break
    return source, offset


def _first(hashes: Keys) -> dict[int, int]:
    values, places = np.unique(hashes, return_index=True)
    return dict(zip(values.tolist(), places.tolist(), strict=True))


def _block_hashes(content: Bytes) -> Keys:
    """A hash of each whole block; what is equal has an equal one."""
    count = len(content) // BLOCK_BYTES
    words: Keys = content[: count * BLOCK_BYTES].view("<u8").reshape(count, BLOCK_BYTES // 8)
    factors = np.random.default_rng(1).integers(0, 2**64, BLOCK_BYTES // 8, np.uint64) | np.uint64(
        1
    )
    hashes = np.empty(count, np.uint64)
    for start in range(0, count, BLOCKS_AT_ONCE):
        end = start + BLOCKS_AT_ONCE
        mixed = words[start:end] * factors
        hashes[start:end] = (mixed ^ mixed >> np.uint64(29)).sum(axis=1, dtype=np.uint64)
    return hashes


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
