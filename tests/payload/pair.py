"""Two small images of one product with the full payloads of both and a delta between them."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from agent.release import Release, encode_release
from fleet.delta.encode import encode_delta
from fleet.delta.pair import FullImage, Pair
from fleet.payload import Encoding, encode_full, slot_image


@dataclass(frozen=True, slots=True)
class Made:
    """Both images with their full payloads, the image of the newer one with its delta, and the blobs."""

    old: bytes
    new: bytes
    base: FullImage
    image: FullImage
    blobs: Path

    def manifest(self) -> bytes:
        """A release of the newer image alone."""
        created = datetime(2026, 1, 1, tzinfo=UTC)
        return encode_release(Release("2", 2, "feature", created, "", (self.image.image,)))


def full(path: Path, blobs: Path, encoding: Encoding | None = None) -> FullImage:
    """An image file with its full payload."""
    with path.open("rb") as file:
        encoded = encode_full(file, blobs, encoding or Encoding(threads=1), lambda: None)
    image = slot_image(encoded, "board", "root")
    return FullImage(image, encoded.payload, encoded.path)


def made(old: Path, new: Path, blobs: Path, encoding: Encoding | None = None) -> Made:
    """Encode both images, and the newer against the older."""
    blobs.mkdir(exist_ok=True)
    base, newer = full(old, blobs, encoding), full(new, blobs, encoding)
    delta = encode_delta(Pair(base, newer), blobs, 1, lambda _done, _total: None)
    assert delta is not None
    image = replace(newer.image, payloads=(newer.payload, delta))
    return Made(
        old.read_bytes(), new.read_bytes(), base, FullImage(image, newer.payload, newer.path), blobs
    )
