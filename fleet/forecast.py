"""What devices will fetch of a release, by kind of device and by the release that they have. Pure."""

from collections.abc import Iterable

from agent.release import FULL, Image, Release
from fleet.delta.offer import find_base


def forecast(release: Release, bases: Iterable[Release]) -> list[str]:
    """One line for each hardware id, for people."""
    lines = []
    for hardware_id in dict.fromkeys(image.hardware_id for image in release.images):
        images = [image for image in release.images if image.hardware_id == hardware_id]
        whole = sum(_bytes(image, None) for image in images)
        told = []
        for base in bases:
            needed = sum(_bytes(image, find_base(base, image)) for image in images)
            if needed < whole:
                told.append(f"{needed} bytes by a device with {base.name}")
        told.append(f"{whole} by any other" if told else f"{whole} bytes by every device")
        lines.append(f"{hardware_id}: fetched are {', '.join(told)}")
    return lines


def _bytes(image: Image, old: Image | None) -> int:
    """The shortest payload that a device with the old image can use."""
    return min(
        one.length_bytes
        for one in image.payloads
        if one.kind == FULL or (old is not None and one.base_sha256 == old.sha256)
    )
