"""The chip's power fails at every single flash operation, and the host's at every single write."""

import pytest

from agent.errors import FlashError
from agent.flash import ChipImage
from agent.flash.select import ChipSettings
from agent.flash.session import flash_chip
from simulator.clock import SimulatedClock
from simulator.mcu.optiboot import Optiboot
from simulator.mcu.stm32_rom import Stm32Rom
from simulator.power import Moment, Power, PowerCut
from simulator.serial_line import SimulatedSerialLine
from tests.flash.chips import (
    avr_image,
    avr_settings,
    held,
    line_to,
    stm32_chip,
    stm32_image,
    stm32_settings,
)

STM32, AVR = "stm32", "avr"


def with_old_image(kind: str) -> tuple[Stm32Rom | Optiboot, ChipSettings, ChipImage]:
    """A chip that runs an older image, and the new one for it."""
    if kind == STM32:
        rom = stm32_chip()
        flash_chip(stm32_settings(), line_to(rom), stm32_image(seed=1))
        return rom, stm32_settings(), stm32_image(seed=2)
    avr = Optiboot()
    flash_chip(avr_settings(), line_to(avr), avr_image(seed=1))
    return avr, avr_settings(), avr_image(seed=2)


def starts(chip: Stm32Rom | Optiboot) -> bool:
    """Whether there is anything at the vectors that a processor would start."""
    return chip.flash.read(chip.flash.start, 4) != b"\xff" * 4


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("kind", [STM32, AVR])
def test_after_a_cut_at_every_flash_operation_the_chip_is_flashed_again(
    kind: str, moment: Moment
) -> None:
    chip, settings, image = with_old_image(kind)
    done = chip.flash.operations
    flash_chip(settings, line_to(chip), image)
    count = chip.flash.operations - done
    assert count > 10
    for operation in range(1, count + 1):
        chip, settings, image = with_old_image(kind)
        old = bytes(chip.flash.content)
        chip.flash.cut_at, chip.flash.cut_moment = done + operation, moment
        line = line_to(chip)
        with pytest.raises(FlashError):
            flash_chip(settings, line, image)
        assert not chip.powered
        half = bytes(chip.flash.content)
        if half != old and not held(chip, image) and 1 < operation < count:
            assert not starts(chip), f"half an image would start after a cut at {operation}"
        line.wire.reset(line.clock.now_s)  # the power is back
        flash_chip(settings, line, image)
        assert held(chip, image), f"operation {operation}"


@pytest.mark.parametrize("kind", [STM32, AVR])
def test_after_a_cut_of_the_host_at_every_write_the_chip_is_flashed_again(kind: str) -> None:
    power = Power()
    chip, settings, image = with_old_image(kind)
    flash_chip(settings, SimulatedSerialLine(SimulatedClock(), chip, power=power), image)
    assert power.number > 20
    for number in range(1, power.number + 1, 2):
        chip, settings, image = with_old_image(kind)
        power = Power()
        power.cut_at(number, Moment.BEFORE)
        line = SimulatedSerialLine(SimulatedClock(), chip, power=power)
        with pytest.raises(PowerCut):
            flash_chip(settings, line, image)
        power.restore()
        line.close()
        flash_chip(settings, line, image)  # the chip was never told; it may wait for the rest
        assert held(chip, image), f"write {number}"
