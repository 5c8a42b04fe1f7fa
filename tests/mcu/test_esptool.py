"""Espressif's own program writes to the simulated chip and verifies, alone and in the agent's hands."""

import sys
from pathlib import Path
from typing import Final

import pytest

from agent.errors import FlashIdentityError, FlashImageError, FlashRefusedError, FlashVerifyError
from agent.flash import ChipImage
from agent.flash.entry import NoEntry
from agent.flash.esptool import EsptoolSettings
from agent.flash.image_file import ImageFormat, raw_image
from agent.flash.select import ChipSettings
from agent.flash.session import flash_chip
from agent.linux.serial_line import LinuxSerialLine
from simulator.clock import SimulatedClock
from simulator.mcu.esp_rom import FLASH_BYTES, EspRom
from simulator.power import Moment
from simulator.serial_line import SimulatedSerialLine
from tests.flash.chips import some_bytes
from tests.mcu.programs import on_pty, run_program

START: Final = 0x10000
IMAGE: Final = raw_image(some_bytes(20_000), START)
ESPTOOL: Final = str(Path(sys.executable).with_name("esptool"))


def settings_for(port: str, chip: str = "esp32") -> ChipSettings:
    """As a pty carries it: without lines to reset by."""
    protocol = EsptoolSettings(chip, FLASH_BYTES, 115_200, own_reset=False)
    return ChipSettings(port, protocol, NoEntry(), ImageFormat.RAW, START, allow_fragile=False)


def holds(chip: EspRom, image: ChipImage) -> bool:
    (region,) = image.regions
    return chip.flash.read(region.start, len(region.content)) == region.content


def esptool(port: str, image: Path, *, deadline_s: float = 60.0) -> tuple[int | None, str]:
    arguments = ["--chip", "esp32", "--port", port, "--before", "no-reset", "--after", "no-reset"]
    write = ["--no-stub", "write-flash", hex(START), str(image)]
    return run_program(ESPTOOL, *arguments, *write, deadline_s=deadline_s)


def test_esptool_writes_again_after_a_power_cut_in_mid_write(tmp_path: Path) -> None:
    image = tmp_path / "image.bin"
    image.write_bytes(IMAGE.regions[0].content)
    chip = EspRom()
    chip.flash.cut_at, chip.flash.cut_moment = 30, Moment.TORN
    with on_pty(chip) as port:
        status, output = esptool(port, image, deadline_s=8.0)
        assert status != 0, output
        assert not chip.powered
        assert not holds(chip, IMAGE)
        status, output = esptool(port, image)
    assert status == 0, output
    assert "Hash of data verified" in output
    assert holds(chip, IMAGE)


def test_the_agent_flashes_through_esptool_and_writes_nothing_twice() -> None:
    chip = EspRom()
    with on_pty(chip) as port:
        flashed = flash_chip(settings_for(port), LinuxSerialLine(port), IMAGE)
        assert flashed.attempts == 1
        assert holds(chip, IMAGE)
        operations = chip.flash.operations
        assert not flash_chip(settings_for(port), LinuxSerialLine(port), IMAGE).plan.writes
    assert chip.flash.operations == operations


def test_a_chip_that_says_it_wrote_and_did_not_is_found_out() -> None:
    chip = EspRom(writes_nothing=True)
    with on_pty(chip) as port, pytest.raises(FlashVerifyError):
        flash_chip(settings_for(port), LinuxSerialLine(port), IMAGE, attempts=1)


def test_another_kind_of_chip_is_refused_before_anything_is_erased() -> None:
    chip = EspRom()
    with on_pty(chip) as port, pytest.raises(FlashIdentityError, match="esp32s2"):
        flash_chip(settings_for(port, "esp32s2"), LinuxSerialLine(port), IMAGE)
    assert chip.flash.operations == 0


def test_a_program_that_hangs_or_is_not_there_is_left(tmp_path: Path) -> None:
    line = LinuxSerialLine(str(tmp_path / "no-port"))
    late = line.lend(("sleep", "30"), b"", 0.2)
    assert (late.passed, late.detail) == (False, "not done within 0 s")
    with pytest.raises(FlashRefusedError, match="no-such-program"):
        line.lend(("no-such-program",), b"", 5.0)


def test_the_program_sees_the_port_and_the_image(tmp_path: Path) -> None:
    line = LinuxSerialLine(str(tmp_path / "port"))
    (tmp_path / "port").write_bytes(b"what is written")
    assert line.lend(("cmp", "{port}", "{image}"), b"what is written", 5.0).passed
    assert not line.lend(("cmp", "{port}", "{image}"), b"something else", 5.0).passed


def test_a_port_that_only_the_agent_has_is_refused() -> None:
    line = SimulatedSerialLine(SimulatedClock(), EspRom())
    with pytest.raises(FlashRefusedError, match="only the agent"):
        flash_chip(settings_for("simulated"), line, IMAGE)


def test_an_image_in_the_wrong_place_is_refused() -> None:
    for image in (raw_image(b"x", START + 1), raw_image(b"x" * 5000, FLASH_BYTES - 4096)):
        with on_pty(EspRom()) as port, pytest.raises(FlashImageError):
            flash_chip(settings_for(port), LinuxSerialLine(port), image)
