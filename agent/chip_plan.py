"""The plan for the microcontrollers: which image each gets, and whether all that may meet fits. Pure.

While an update is under way the new system runs beside a chip's old image, and after a power cut the old
system beside the new image, until that is put back. So both must allow it, or nothing is begun.
"""

from collections.abc import Mapping

from agent.board import BoardProfile, Microcontroller
from agent.errors import PairError, RefusedError, TooLargeError
from agent.firmware import AS_IT_CAME, ChipRecord, Firmware
from agent.plan import full_payload
from agent.release import CHIP_IMAGE_BYTES_MAX, FIRMWARE, Image, Release
from agent.update import ChipInstallation, Installation


def plan_chips(
    release: Release,
    profile: BoardProfile,
    belongs: Mapping[str, Firmware],
    records: Mapping[str, ChipRecord],
    host_counter: int,
    *,
    has_key: bool = False,
) -> tuple[ChipInstallation, ...]:
    """The images for this board's chips, in the order of the profile; a release may leave chips out.

    `belongs` are the images beside the running system, `records` what the chips hold, `host_counter` the
    running system's release counter. Raises `PairError`, `RefusedError`, `TooLargeError`.
    """
    planned = []
    for chip in profile.microcontrollers:
        image = _image_for(release, chip)
        record = records.get(chip.name, AS_IT_CAME)
        new = None if image is None or image.hosts is None else Firmware(image.sha256, image.hosts)
        olds = (belongs.get(chip.name), record.holds, record.writing)
        check_pairs(chip.name, new, olds, before=host_counter, after=release.counter)
        if image is not None and new is not None:
            planned.append(
                ChipInstallation(chip.name, new, _installation(release, image, has_key=has_key))
            )
    return tuple(planned)


def check_pairs(
    chip: str,
    new: Firmware | None,
    olds: tuple[Firmware | None, ...],
    *,
    before: int,
    after: int,
) -> None:
    """See that every pair which an update can lead to works: systems `before` and `after`, both images.

    `new` is None for a chip that keeps its image, and the first of `olds` is what belongs there. Images
    of which nobody ever said with what they work are taken to work. Raises `PairError`.
    """
    for old in olds:
        if old is not None and (new is None or old.sha256 != new.sha256):
            _check(chip, old, after, "its image from before would meet the new system")
    if new is not None:
        _check(chip, new, after, "the new image would meet the new system")
        if olds[0] is None or olds[0].sha256 != new.sha256:
            _check(chip, new, before, "after a power cut the new image would meet the old system")


def _check(chip: str, firmware: Firmware, counter: int, story: str) -> None:
    hosts = firmware.hosts
    if hosts is not None and not hosts.allow(counter):
        raise PairError(
            f"chip {chip}: {story}, release counter {counter}; the image {firmware.sha256[:16]} works with "
            f"{hosts.counter_min} to {hosts.counter_max}; release an image in between that works with both"
        )


def _image_for(release: Release, chip: Microcontroller) -> Image | None:
    images = [
        image
        for image in release.images
        if (image.component, image.hardware_id) == (chip.name, chip.hardware_id)
    ]
    for image in images:
        if image.part != FIRMWARE:
            raise RefusedError(
                f"release {release.name}: an image for {chip.name}/{FIRMWARE} was expected, one for "
                f"{chip.name}/{image.part} found; correct the release"
            )
        if image.length_bytes > CHIP_IMAGE_BYTES_MAX:
            raise TooLargeError(
                f"release {release.name}: an image of at most {CHIP_IMAGE_BYTES_MAX} bytes was expected for "
                f"{chip.name}, {image.length_bytes} found"
            )
    return images[0] if images else None


def _installation(release: Release, image: Image, *, has_key: bool) -> Installation:
    return Installation(
        part=image.part,
        length_bytes=image.length_bytes,
        sha256=image.sha256,
        payload=full_payload(release, image, has_key=has_key),
    )
