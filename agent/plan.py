"""The plan: which image goes onto which part of the standby slot. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from agent.board import BoardProfile
from agent.encryption import SCHEME
from agent.errors import HardwareError, RecipientError, RefusedError, TooLargeError, TrustError
from agent.release import DELTA, FULL, SLOTS, Image, Payload, Release
from agent.rollout import Rollout
from agent.update import Installation

NOTHING_KNOWN: Final[Mapping[str, str]] = MappingProxyType({})


def make_plan(
    release: Release,
    rollout: Rollout,
    profile: BoardProfile,
    sizes: Mapping[str, int],
    bases: Mapping[str, str] = NOTHING_KNOWN,
    *,
    has_key: bool = False,
) -> tuple[Installation, ...]:
    """The installations that bring a release onto the standby slot, in the order of writing.

    `sizes` are the bytes that each part of the standby slot can hold, `bases` the SHA-256 of the image
    in each part of the active slot, as far as it is known. `has_key` says whether encrypted payloads can be
    opened here. Raises `TrustError` when the
    manifest is not what the rollout names, `HardwareError`, `RefusedError` or `TooLargeError` when
    this board cannot take it whole: nothing is installed in part.
    """
    if release.counter != rollout.counter:
        raise TrustError(
            f"rollout {rollout.id}: release {release.name} with counter {rollout.counter} was "
            f"expected, its manifest says {release.counter}; sign the rollout anew"
        )
    images = [image for image in release.images if image.hardware_id == profile.hardware_id]
    if not images:
        known = ", ".join(sorted({image.hardware_id for image in release.images}))
        raise HardwareError(
            f"release {release.name}: an image for {profile.hardware_id} was expected, "
            f"it has some for {known or 'nothing'}; limit the rollout's audience or add the image"
        )
    for image in images:
        if image.component != SLOTS or image.part not in profile.parts:
            raise RefusedError(
                f"release {release.name}: an image for {image.component}/{image.part}, "
                f"which board profile {profile.name} does not have; correct one of them"
            )
    by_part = {image.part: image for image in images}
    missing = [part for part in profile.parts if part not in by_part]
    if missing:
        raise RefusedError(
            f"release {release.name}: an image for every part of the slot was expected, "
            f"{', '.join(missing)} is missing; a slot is never half old and half new"
        )
    return tuple(
        _installation(release, by_part[part], sizes[part], bases.get(part, ""), has_key=has_key)
        for part in profile.parts
    )


def _installation(
    release: Release, image: Image, size_bytes: int, base: str, *, has_key: bool
) -> Installation:
    if image.length_bytes > size_bytes:
        raise TooLargeError(
            f"release {release.name}: image {image.part} of {image.length_bytes} bytes "
            f"is larger than the {size_bytes} bytes of the standby slot"
        )
    return Installation(
        part=image.part,
        length_bytes=image.length_bytes,
        sha256=image.sha256,
        payload=full_payload(release, image, has_key=has_key),
        delta=_delta(image, base, has_key=has_key),
        windows_sha256=image.windows_sha256,
    )


def _delta(image: Image, base: str, *, has_key: bool) -> Payload | None:
    """The delta from what the active slot holds; the smallest where nobody has recorded what that is.

    A guess that is wrong is noticed within a few windows, and costs no more than them.
    """
    deltas = (
        one
        for one in image.payloads
        if one.kind == DELTA and base in ("", one.base_sha256) and can_open(one, has_key=has_key)
    )
    return min(deltas, key=lambda one: one.length_bytes, default=None)


def can_open(payload: Payload, *, has_key: bool) -> bool:
    """Whether this device can read it, as far as that can be told before it is fetched."""
    return payload.encryption is None or (has_key and payload.encryption.scheme == SCHEME)


def full_payload(release: Release, image: Image, *, has_key: bool = False) -> Payload:
    """The payload that needs nothing but itself, the first that this device can read.

    Raises `RefusedError` when there is none, `RecipientError` when there are only encrypted ones.
    """
    full = [payload for payload in image.payloads if payload.kind == FULL]
    for payload in full:
        if can_open(payload, has_key=has_key):
            return payload
    schemes = sorted({one.encryption.scheme for one in full if one.encryption is not None})
    if not schemes:
        raise RefusedError(
            f"release {release.name}: image {image.part} has no full payload; publish one"
        )
    lacks = "has no key of its own" if SCHEME in schemes else f"knows {SCHEME} alone"
    raise RecipientError(
        f"release {release.name}: image {image.part} is encrypted by {', '.join(schemes)} in every "
        f"payload, and this device {lacks}; give it one (encryption.key in agent.toml), or release a "
        "payload that it can read"
    )
