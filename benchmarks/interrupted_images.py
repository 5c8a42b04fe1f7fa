"""Three images of one product, as long as asked for: what was, what runs, and what is to come.

Pieces of noise, of what compresses to a half, and of nothing. From image to image most stay, some are
edited in a few places, some are new.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from agent.release import Image, Payload
from fleet.delta.encode import encode_delta
from fleet.delta.pair import FullImage, Pair
from fleet.payload import Encoding, encode_full, slot_image

HARDWARE: Final = "lockgate,files"
PIECE_BYTES: Final = 64 * 1024
EDITS: Final = 48
VERSIONS: Final = 3


@dataclass(frozen=True, slots=True)
class Made:
    """The files of the images, oldest first, and the newest one with both of its payloads."""

    files: tuple[Path, ...]
    image: Image
    blobs: Path


def make_images(folder: Path, length_bytes: int) -> Made:
    """All images with their payloads, below a folder; those of an earlier call are taken again."""
    folder = folder / str(length_bytes)
    blobs, note = folder / "blobs", folder / "image.json"
    if note.exists():
        document = json.loads(note.read_text())
        document["payloads"] = tuple(Payload(**one) for one in document["payloads"])
        return Made(_files(folder), Image(**document), blobs)
    blobs.mkdir(parents=True, exist_ok=True)
    files = _files(folder)
    for version, file in enumerate(files):
        write_image(file, length_bytes, version)
    base, newest = (_full(file, blobs) for file in files[1:])
    delta = encode_delta(Pair(base, newest), blobs, 0, lambda _done, _total: None)
    assert delta is not None, "so little changes that a delta is worth it"
    one = newest.image
    image = replace(one, payloads=(newest.payload, delta))
    note.write_text(json.dumps(asdict(image)))
    return Made(files, image, blobs)


def _files(folder: Path) -> tuple[Path, ...]:
    return tuple(folder / f"{version}.image" for version in range(VERSIONS))


def _full(file: Path, blobs: Path) -> FullImage:
    with file.open("rb") as source:
        made = encode_full(source, blobs, Encoding(), lambda: None)
    image = slot_image(made, HARDWARE, "root")
    return FullImage(image, made.payload, made.path)


def write_image(path: Path, length_bytes: int, version: int) -> None:
    """The image of this version, 0 for the oldest; the same bytes each time."""
    assert 0 <= version < VERSIONS, "there are three"
    with path.open("wb") as file:
        for number in range(-(-length_bytes // PIECE_BYTES)):
            file.write(_piece(number, version))
        file.truncate(length_bytes)


def _piece(number: int, version: int) -> bytes:
    """Version by version either as it was, edited, or made anew."""
    content = _made(number, 0)
    for step in range(1, version + 1):
        chance = np.random.default_rng((number, step))
        lot = chance.random()
        if lot < 0.1:
            content = _made(number, step)
        elif lot < 0.3:
            changed = bytearray(content)
            for place in chance.integers(0, PIECE_BYTES, EDITS):
                changed[place] ^= 0x5A
            content = bytes(changed)
    return content


def _made(number: int, step: int) -> bytes:
    chance = np.random.default_rng((number, step, 7))
    lot = chance.random()
    if lot < 0.2 and number:
        return bytes(PIECE_BYTES)
    noise = chance.bytes(PIECE_BYTES)
    if lot < 0.6:
        return noise
    return bytes(np.frombuffer(noise, dtype=np.uint8) & 0x0F)
