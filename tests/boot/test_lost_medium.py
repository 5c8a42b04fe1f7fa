"""A medium with the boot state that goes away while the device runs."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.board import BootSettings, TrybootSettings, UbootSettings
from agent.boot import BootControl
from agent.boot.select import boot_control
from agent.errors import BootControlError
from agent.linux.storage import LinuxStorage
from tests.boot.boards import Board, raspberry_pi, u_boot

ACTS: dict[str, Callable[[BootControl], object]] = {
    "default": lambda control: control.default(),
    "try_next": lambda control: control.try_next("b", 1),
    "confirm": lambda control: control.confirm("a"),
}
BOARDS = (raspberry_pi, u_boot)


def settings_on(settings: BootSettings, path: str) -> BootSettings:
    match settings:
        case TrybootSettings():
            return TrybootSettings(path)
        case UbootSettings():
            first, second = (dataclasses.replace(copy, device=path) for copy in settings.copies)
            return dataclasses.replace(settings, copies=(first, second))


@pytest.mark.parametrize("act", sorted(ACTS))
@pytest.mark.parametrize("make", BOARDS)
def test_a_device_that_went_away_is_an_error_of_the_boot_state(
    tmp_path: Path, make: Callable[[], Board], act: str
) -> None:
    board = make()
    board.start()
    settings = settings_on(board.profile.boot, str(tmp_path / "gone"))
    profile = dataclasses.replace(board.profile, boot=settings)
    control = boot_control(profile, LinuxStorage(), board.choice.facts("boot"))
    with pytest.raises(BootControlError, match="gone"):
        ACTS[act](control)
