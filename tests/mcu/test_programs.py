"""Programs that others wrote accept the simulated chips, also after a power cut in mid-write."""

from pathlib import Path
from typing import Final

import pytest

from simulator.mcu.stm32_rom import F103, FLASH_START, G071, Lie, Stm32Model
from simulator.power import Moment
from tests.flash.chips import some_bytes
from tests.mcu.programs import DEAD_LINE_S, on_pty, pty_avr, pty_stm32, run_program

STM32_BYTES: Final = 12_000
AVR_BYTES: Final = 4_000


def stm32flash(port: str, image: Path, deadline_s: float = 60.0) -> tuple[int | None, str]:
    arguments = ["-m", "8n1", "-b", "115200", "-w", str(image), "-v", "-g", hex(FLASH_START)]
    return run_program("stm32flash", *arguments, port, deadline_s=deadline_s)


def avrdude(port: str, image: Path, deadline_s: float = 60.0) -> tuple[int | None, str]:
    arguments = ["-c", "arduino", "-p", "m328p", "-b", "115200", "-D", "-P", port]
    return run_program("avrdude", *arguments, "-U", f"flash:w:{image}:r", deadline_s=deadline_s)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "image.bin"
    file.write_bytes(some_bytes(STM32_BYTES))
    return file


@pytest.fixture
def avr_file(tmp_path: Path) -> Path:
    file = tmp_path / "avr.bin"
    file.write_bytes(some_bytes(AVR_BYTES))
    return file


@pytest.mark.parametrize("model", [F103, G071])
def test_stm32flash_writes_and_verifies(model: Stm32Model, image: Path) -> None:
    chip = pty_stm32(model)
    with on_pty(chip) as port:
        status, output = stm32flash(port, image)
    assert status == 0, output
    assert chip.flash.read(FLASH_START, STM32_BYTES) == image.read_bytes()
    assert chip.in_application


def test_stm32flash_finds_out_a_chip_that_writes_nothing(image: Path) -> None:
    chip = pty_stm32()
    chip.lie = Lie.WRITES_NOTHING
    with on_pty(chip) as port:
        status, output = stm32flash(port, image)
    assert status not in (0, None), output


def test_stm32flash_writes_again_after_a_cut_in_mid_write(image: Path) -> None:
    chip = pty_stm32()
    chip.flash.cut_at, chip.flash.cut_moment = 30, Moment.TORN
    with on_pty(chip) as port:
        status, _ = stm32flash(port, image, deadline_s=DEAD_LINE_S)
        assert status != 0
        assert not chip.powered
        assert chip.flash.read(FLASH_START, STM32_BYTES) != image.read_bytes()
        status, output = stm32flash(port, image)
    assert status == 0, output
    assert chip.flash.read(FLASH_START, STM32_BYTES) == image.read_bytes()


def test_avrdude_writes_and_verifies(avr_file: Path) -> None:
    chip = pty_avr()
    with on_pty(chip) as port:
        status, output = avrdude(port, avr_file)
    assert status == 0, output
    assert chip.flash.read(0, AVR_BYTES) == avr_file.read_bytes()


def test_avrdude_writes_again_after_a_cut_in_mid_write(avr_file: Path) -> None:
    chip = pty_avr()
    chip.flash.cut_at, chip.flash.cut_moment = 21, Moment.TORN
    with on_pty(chip) as port:
        status, _ = avrdude(port, avr_file, deadline_s=DEAD_LINE_S)
        assert status != 0
        assert not chip.powered
        status, output = avrdude(port, avr_file)
    assert status == 0, output
    assert chip.flash.read(0, AVR_BYTES) == avr_file.read_bytes()
