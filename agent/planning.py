"""Plans an update for one device: what its release brings to every part and every microcontroller."""

from dataclasses import replace
from typing import Final

from agent.board import SlotName, other
from agent.chip_plan import plan_chips
from agent.device import Device
from agent.journal import Journal
from agent.metadata import MetadataSession
from agent.plan import make_plan
from agent.release import Release
from agent.rollout import Rollout
from agent.update import ChipInstallation, Installation, Update

SECURITY: Final = "security"
"""The kind of release that may be fetched where others wait."""


def plan_update(
    device: Device, journal: Journal, update: Update, rollout: Rollout, session: MetadataSession
) -> Update:
    """The update with all that it will install, from documents that are verified.

    Raises `TrustError`, `FetchError`, and `RefusedError` and its kind for what this device cannot take.
    """
    release, manifest_sha256 = session.release(update.release)
    installations, chips = plan_parts(device, journal, release, rollout, update.target)
    return replace(
        update,
        installations=installations,
        chips=chips,
        manifest_sha256=manifest_sha256,
        security=release.kind == SECURITY,
    )


def plan_parts(
    device: Device, journal: Journal, release: Release, rollout: Rollout, target: SlotName
) -> tuple[tuple[Installation, ...], tuple[ChipInstallation, ...]]:
    """What a release brings to the parts of this slot, and to the chips beside it."""
    known = journal.installed.get(other(target))
    has_key = bool(device.encryption_key)
    installations = make_plan(
        release,
        rollout,
        device.profile,
        device.sizes(target),
        known.images if known else {},
        has_key=has_key,
    )
    chips = plan_chips(
        release,
        device.profile,
        known.chips if known else {},
        journal.chips,
        device.running(journal).counter,
        has_key=has_key,
    )
    return installations, chips
