"""Which deltas a release gets: one for each image that a named earlier release has for the same place."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from agent.errors import ConfigError
from agent.release import FULL, Image, Release
from fleet.delta.pair import FullImage, Pair

Watch = Callable[[Image, Release, int, int], None]
"""Called with the windows of an image that are coded against a release, and all of them."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What deltas are made from, and where; `workers` of 0 means a process for each processor."""

    bases: tuple[Release, ...]
    blobs: Path
    folder: Path
    workers: int
    watch: Watch


def with_deltas(image: Image, offer: Offer) -> Image:
    """The image with a delta from every base that makes one worth it, each base image once.

    An image that did not change gets one too: a device copies it from the slot that runs.
    """
    from fleet.delta.encode import encode_delta  # noqa: PLC0415  # brings numpy, which no other command needs

    payloads = list(image.payloads)
    new = _full(image, offer.folder)
    for release in offer.bases:
        old = find_base(release, image)
        if old is None or old.sha256 in {one.base_sha256 for one in payloads}:
            continue

        def progress(done: int, total: int, base: Release = release) -> None:
            offer.watch(image, base, done, total)

        pair = Pair(_full(old, offer.blobs), new)
        delta = encode_delta(pair, offer.folder, offer.workers, progress)
        if delta is not None:
            payloads.append(delta)
    return replace(image, payloads=tuple(payloads))


def find_base(release: Release, image: Image) -> Image | None:
    """The image that a release has for the same part of the same boards."""
    place = (image.hardware_id, image.component, image.part)
    return next(
        (one for one in release.images if (one.hardware_id, one.component, one.part) == place), None
    )


def _full(image: Image, folder: Path) -> FullImage:
    for payload in image.payloads:
        if payload.kind == FULL:
            return FullImage(image, payload, folder / payload.blob)
    raise ConfigError(f"image {image.part}: a full payload was expected, it has none")
