"""`lockgate doctor` on microcontrollers: their ports, what they hold, and who answers."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.board import Microcontroller
from agent.commands.examination import Level
from agent.commands.examine_chips import ask_chip, examine_chip
from agent.errors import FlashIdentityError, FlashLineError
from agent.firmware import AS_IT_CAME, ChipRecord, Firmware
from agent.linux.serial_ports import LinuxSerialPorts
from agent.release import Hosts
from simulator.mcu.optiboot import Lie, Optiboot
from tests.flash.chips import avr_settings
from tests.mcu.programs import on_pty, pty_avr

IMAGE = Firmware("ab" * 32, Hosts(3, 5))


def motor(port: str) -> Microcontroller:
    return Microcontroller("motor", "acme,motor", replace(avr_settings(), port=port))


def test_a_chip_that_holds_what_goes_with_the_system_is_well(tmp_path: Path) -> None:
    (tmp_path / "port").touch()
    chip = motor(str(tmp_path / "port"))
    well = examine_chip(chip, ChipRecord(IMAGE), 4)
    assert (well.level, well.detail) == (
        Level.OK,
        f"{chip.settings.port}, holds abababababab, for release counters 3 to 5; 4 runs",
    )
    assert examine_chip(chip, AS_IT_CAME, 4).level is Level.OK


def test_a_pair_that_does_not_fit_and_a_chip_half_way_are_named(tmp_path: Path) -> None:
    (tmp_path / "port").touch()
    chip = motor(str(tmp_path / "port"))
    assert examine_chip(chip, ChipRecord(IMAGE), 6).level is Level.FAIL
    half = examine_chip(chip, ChipRecord(IMAGE, replace(IMAGE, sha256="cd" * 32)), 4)
    assert half.level is Level.WARN
    assert "or cdcdcdcdcdcd, which was begun" in half.detail


def test_a_port_that_is_not_there_fails(tmp_path: Path) -> None:
    with pytest.raises(FlashLineError, match="look at its plug"):
        examine_chip(motor(str(tmp_path / "no-port")), AS_IT_CAME, 1)


def test_a_bootloader_says_who_it_is() -> None:
    with on_pty(pty_avr()) as port:
        found = ask_chip(motor(port), LinuxSerialPorts())
    assert (found.level, found.detail) == (Level.OK, "1e950f, bootloader 4.4")


def test_another_chip_is_refused() -> None:
    chip = Optiboot(lie=Lie.WRONG_ID)
    with on_pty(chip) as port, pytest.raises(FlashIdentityError):
        ask_chip(motor(port), LinuxSerialPorts())
    assert chip.flash.operations == 0
