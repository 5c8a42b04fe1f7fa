from dataclasses import replace

import pytest

from agent.errors import FlashImageError, FlashRefusedError
from agent.flash import ChipImage, Flasher, Phase, Progress, Recovery, Region
from agent.flash.entry import CommandEntry, GpioEntry, NoEntry, TouchEntry
from agent.flash.image_file import raw_image
from agent.flash.pace import Pace
from agent.flash.pages import FlashLayout
from agent.flash.select import ChipSettings, make_flasher, recovery
from agent.flash.session import flash_chip
from agent.flash.stm32_commands import Join
from agent.flash.stm32_uart import Stm32Settings, stm32_checksum
from simulator.clock import SimulatedClock
from simulator.mcu.flash import even_pages
from simulator.mcu.optiboot import Optiboot
from simulator.mcu.stm32_rom import FLASH_START, Stm32Model, remainder
from tests.flash.chips import (
    SMALL,
    SMALL_WITH_CHECKSUM,
    avr_image,
    avr_settings,
    held,
    line_to,
    some_bytes,
    stm32_chip,
    stm32_image,
    stm32_settings,
)


@pytest.mark.parametrize("model", [SMALL, SMALL_WITH_CHECKSUM])
def test_an_stm32_holds_the_image_and_starts_it(model: Stm32Model) -> None:
    chip, image = stm32_chip(model), stm32_image()
    flashed = flash_chip(stm32_settings(model), line_to(chip), image)
    assert held(chip, image)
    assert flashed.identity.chip == model.chip.hex()
    assert flashed.attempts == 1
    assert chip.in_application


def test_an_avr_holds_the_image() -> None:
    chip, image = Optiboot(), avr_image()
    flashed = flash_chip(avr_settings(), line_to(chip), image)
    assert held(chip, image)
    assert flashed.identity.chip == "1e950f"


def test_a_chip_that_holds_the_image_is_not_written() -> None:
    chip, image = stm32_chip(), stm32_image()
    avr, avr_bytes = Optiboot(), avr_image()
    for _ in range(2):
        flash_chip(stm32_settings(), line_to(chip), image)
        flash_chip(avr_settings(), line_to(avr), avr_bytes)
    operations = chip.flash.operations, avr.flash.operations
    assert not flash_chip(stm32_settings(), line_to(chip), image).plan.writes
    assert not flash_chip(avr_settings(), line_to(avr), avr_bytes).plan.writes
    assert (chip.flash.operations, avr.flash.operations) == operations


def test_only_the_page_that_changed_and_the_vectors_are_written_again() -> None:
    chip, content = stm32_chip(), bytearray(some_bytes(8 * 1024))
    flash_chip(stm32_settings(), line_to(chip), raw_image(bytes(content), FLASH_START))
    content[5 * 1024] ^= 1
    changed = raw_image(bytes(content), FLASH_START)
    flashed = flash_chip(stm32_settings(), line_to(chip), changed)
    assert flashed.plan.erase == (0, 5)
    assert flashed.plan.unchanged_bytes == 6 * 1024
    assert held(chip, changed)


def test_the_vectors_are_erased_first_and_written_last() -> None:
    chip, image = stm32_chip(), stm32_image()
    plan = flash_chip(stm32_settings(), line_to(chip), image).plan
    assert plan.erase[0] == 0
    assert plan.writes[-1].start == FLASH_START
    avr = flash_chip(avr_settings(), line_to(Optiboot()), avr_image()).plan
    assert avr.writes[0] == Region(0, b"\xff" * 128)
    assert avr.writes[-1].start == 0


def test_blocks_of_ones_are_not_sent_to_an_stm32() -> None:
    chip = stm32_chip()
    image = raw_image(b"ab" + b"\xff" * 2000 + b"cd", FLASH_START)
    plan = flash_chip(stm32_settings(), line_to(chip), image).plan
    assert [region.start - FLASH_START for region in plan.writes] == [1792, 0]
    assert held(chip, image)


def test_an_image_in_several_regions_is_verified_in_all_of_them() -> None:
    chip = stm32_chip(SMALL_WITH_CHECKSUM)
    image = ChipImage(
        (
            Region(FLASH_START, some_bytes(13)),
            Region(FLASH_START + 40, some_bytes(1000)),
            Region(FLASH_START + 5001, some_bytes(3)),
        )
    )
    flash_chip(stm32_settings(SMALL_WITH_CHECKSUM), line_to(chip), image)
    assert held(chip, image)


def joining(join: Join) -> ChipSettings:
    settings = stm32_settings()
    assert isinstance(settings.protocol, Stm32Settings)
    return replace(settings, protocol=replace(settings.protocol, join_steps=join))


def flash_time_s(join: Join, *, keeps_up: bool) -> float:
    chip, image = stm32_chip(), stm32_image(8 * 1024)
    chip.keeps_up = keeps_up
    line = line_to(chip, latency_s=0.016)
    assert flash_chip(joining(join), line, image).attempts == 1
    assert held(chip, image)
    return line.clock.now_s


def test_steps_travel_together_where_answers_are_slow_and_the_rom_keeps_up() -> None:
    never = flash_time_s(Join.NEVER, keeps_up=True)
    addresses = flash_time_s(Join.ADDRESSES, keeps_up=True)
    blocks = flash_time_s(Join.BLOCKS, keeps_up=True)
    assert addresses < never * 0.8
    assert blocks < addresses * 0.9


@pytest.mark.parametrize("join", [Join.ADDRESSES, Join.BLOCKS])
def test_a_rom_that_does_not_keep_up_costs_one_question(join: Join) -> None:
    assert flash_time_s(join, keeps_up=False) < flash_time_s(Join.NEVER, keeps_up=False) + 1.0


def test_pages_smaller_than_a_block_are_written_one_by_one() -> None:
    model = Stm32Model(pages=even_pages(64, 128))
    chip, image = stm32_chip(model), stm32_image()
    flash_chip(stm32_settings(model), line_to(chip), image)
    assert held(chip, image)


def test_sectors_of_different_sizes_are_found() -> None:
    model = Stm32Model(pages=(16384, 16384, 65536))
    layout = FlashLayout(FLASH_START, model.pages)
    assert layout.spans()[2] == (FLASH_START + 32768, FLASH_START + 98304)
    chip, image = stm32_chip(model), stm32_image(33000)
    plan = flash_chip(stm32_settings(model), line_to(chip), image).plan
    assert plan.erase == (0, 1, 2)
    assert held(chip, image)


def test_progress_tells_every_phase_to_its_end() -> None:
    told: list[Progress] = []
    flash_chip(stm32_settings(), line_to(stm32_chip()), stm32_image(), progress=told.append)
    ends = {progress.phase: progress for progress in told}
    assert set(ends) == {Phase.COMPARE, Phase.ERASE, Phase.WRITE, Phase.VERIFY}
    for phase in (Phase.ERASE, Phase.WRITE, Phase.VERIFY):
        assert ends[phase].done_bytes == ends[phase].total_bytes


@pytest.mark.parametrize(
    ("start", "length"), [(FLASH_START - 4, 8), (FLASH_START + 8 * 1024 - 4, 8)]
)
def test_an_image_beside_the_flash_is_refused_before_anything_is_erased(
    start: int, length: int
) -> None:
    chip = stm32_chip()
    with pytest.raises(FlashImageError):
        flash_chip(stm32_settings(), line_to(chip), raw_image(bytes(length), start))
    assert chip.flash.operations == 0


def test_an_image_in_the_boot_section_is_refused() -> None:
    chip = Optiboot()
    with pytest.raises(FlashImageError, match="boot section"):
        flash_chip(avr_settings(), line_to(chip), raw_image(bytes(8), 0x7800 - 4))
    assert chip.flash.operations == 0


def test_a_chip_that_only_its_firmware_lets_us_into_needs_the_owner_s_word() -> None:
    for entry in (TouchEntry(0.5), CommandEntry(b"\x01", 9600, 0.5)):
        settings = stm32_settings(entry=entry)
        flasher: Flasher = make_flasher(settings, line_to(stm32_chip()))
        assert recovery(settings, flasher) is Recovery.FRAGILE
        with pytest.raises(FlashRefusedError, match="allow_fragile"):
            flash_chip(settings, line_to(stm32_chip()), stm32_image())
    for safe in (NoEntry(), GpioEntry("gpiochip0/1", None, 0, 0, 0)):
        settings = stm32_settings(entry=safe)
        assert recovery(settings, make_flasher(settings, line_to(stm32_chip()))) is Recovery.ROM


def test_read_protection_is_named_and_never_lifted() -> None:
    chip = stm32_chip()
    chip.read_protected = True
    with pytest.raises(FlashRefusedError, match="protected"):
        flash_chip(stm32_settings(), line_to(chip), stm32_image())
    assert chip.flash.operations == 0


@pytest.mark.parametrize("length", [4, 256, 1024])
def test_the_checksum_is_the_chip_s(length: int) -> None:
    content = some_bytes(length)
    assert stm32_checksum(content) == remainder(content, 0x04C11DB7, 0xFFFFFFFF)


def test_checksums_save_most_of_the_reading() -> None:
    lines = []
    for model in (SMALL, SMALL_WITH_CHECKSUM):
        line = line_to(stm32_chip(model))
        flash_chip(stm32_settings(model), line, stm32_image(8000))
        lines.append(line.wire.bytes_to_host)
    assert lines[1] < lines[0] / 5


def test_progress_has_a_rate_and_an_end_for_each_phase() -> None:
    clock = SimulatedClock()
    pace = Pace(clock)
    told = []
    for phase in (Phase.WRITE, Phase.VERIFY):
        for done in (0, 1000, 2000, 4000):
            told.append(pace.words(Progress(phase, done, 4000)))
            clock.sleep(0.8)
    half = ["0 of 4000 bytes", "1000 of 4000 bytes", "2000 of 4000 bytes, 1250 bytes/s, 2 s left"]
    whole = [*half, "4000 of 4000 bytes, 1667 bytes/s, 0 s left"]
    assert told == [f"{phase} {words}" for phase in ("write", "verify") for words in whole]
