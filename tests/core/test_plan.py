from dataclasses import replace

import pytest

from agent.board import BoardProfile, Check, ConfirmSettings, Slot, TrybootSettings
from agent.errors import HardwareError, RefusedError, TooLargeError, TrustError, UpdateError
from agent.plan import make_plan
from agent.release import Image, Release
from agent.rollout import Audience, Rollout, RolloutState
from agent.update import Installation
from tests.core.samples import NOON, PAYLOAD

PROFILE = BoardProfile(
    name="rpi4",
    hardware_id="rpi4",
    boot=TrybootSettings("/dev/p1"),
    slots={
        "a": Slot({"boot": "/dev/p2", "root": "/dev/p5"}, 2),
        "b": Slot({"boot": "/dev/p3", "root": "/dev/p6"}, 3),
    },
    confirm=ConfirmSettings(60, 3, False, (Check("up", ("true",), 5),), None),
)
BOOT = Image("rpi4", "slots", "boot", 1000, "12" * 32, (PAYLOAD,))
ROOT = replace(BOOT, part="root", length_bytes=2000, windows_sha256="56" * 32)
RELEASE = Release("2026.2", 2, "feature", NOON, "", (ROOT, BOOT))
ROLLOUT = Rollout("spring", "2026.2", 2, RolloutState.ACTIVE, 0, 0, Audience((), ()), (), None)
SIZES = {"boot": 1000, "root": 2000}


def plan(release: Release = RELEASE, sizes: dict[str, int] = SIZES) -> tuple[Installation, ...]:
    return make_plan(release, ROLLOUT, PROFILE, sizes)


def test_every_part_is_planned_in_the_profiles_order() -> None:
    assert [one.part for one in plan()] == ["boot", "root"]
    assert [one.windows_sha256 for one in plan()] == ["", ROOT.windows_sha256]


def test_images_for_other_boards_are_left_alone() -> None:
    foreign = replace(BOOT, hardware_id="rpi5", length_bytes=2**39)
    assert plan(replace(RELEASE, images=(foreign, *RELEASE.images))) == plan()


@pytest.mark.parametrize(
    ("release", "sizes", "kind"),
    [
        (replace(RELEASE, counter=3), SIZES, TrustError),
        (replace(RELEASE, images=()), SIZES, HardwareError),
        (replace(RELEASE, images=(replace(BOOT, hardware_id="rpi5"),)), SIZES, HardwareError),
        (replace(RELEASE, images=(BOOT,)), SIZES, RefusedError),
        (replace(RELEASE, images=(BOOT, ROOT, replace(ROOT, part="data"))), SIZES, RefusedError),
        (replace(RELEASE, images=(BOOT, ROOT, replace(ROOT, component="m"))), SIZES, RefusedError),
        (replace(RELEASE, images=(BOOT, replace(ROOT, payloads=()))), SIZES, RefusedError),
        (
            replace(RELEASE, images=(BOOT, replace(ROOT, payloads=(replace(PAYLOAD, kind="d"),)))),
            SIZES,
            RefusedError,
        ),
        (RELEASE, {"boot": 999, "root": 2000}, TooLargeError),
        (RELEASE, {"boot": 1000, "root": 1999}, TooLargeError),
    ],
)
def test_what_this_board_cannot_take_whole_is_refused_before_any_write(
    release: Release, sizes: dict[str, int], kind: type[UpdateError]
) -> None:
    with pytest.raises(kind):
        plan(release, sizes)
