"""Chips and lines that lie, babble, fall silent, lose bytes, or are pulled out (S1 to S4)."""

from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import FlashError, FlashIdentityError, FlashLineError, FlashVerifyError
from agent.flash import ChipImage
from agent.flash.select import ChipSettings
from agent.flash.session import flash_chip
from agent.flash.stm32_commands import TROUBLES_MAX, Join, Stm32Commands
from agent.flash.stm32_uart import Stm32Settings
from agent.interfaces import LineSettings, Parity
from simulator.clock import SimulatedClock
from simulator.mcu import optiboot, stm32_rom
from simulator.mcu.optiboot import Optiboot
from simulator.mcu.stm32_rom import Stm32Rom
from simulator.mcu.wire import LineFaults
from simulator.serial_line import SimulatedSerialLine
from tests.flash.chips import (
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

HOUR_S = 3600.0
STM32, AVR = "stm32", "avr"


def made(kind: str) -> tuple[Stm32Rom | Optiboot, ChipSettings, ChipImage]:
    if kind == STM32:
        return stm32_chip(), stm32_settings(), stm32_image()
    return Optiboot(), avr_settings(), avr_image()


def flash(
    kind: str, faults: LineFaults, latency_s: float = 0.0
) -> tuple[Stm32Rom | Optiboot, SimulatedSerialLine, ChipImage]:
    chip, chosen, image = made(kind)
    line = line_to(chip, faults, latency_s)
    flash_chip(chosen, line, image)
    return chip, line, image


def test_an_stm32_that_says_ok_and_writes_nothing_is_found_out() -> None:
    for model in (stm32_rom.F103, SMALL_WITH_CHECKSUM):
        chip = stm32_chip(model)
        chip.lie = stm32_rom.Lie.WRITES_NOTHING
        with pytest.raises(FlashVerifyError) as refusal:
            flash_chip(stm32_settings(model), line_to(chip), stm32_image())
        assert refusal.value.code == "flash-verify"


def test_an_avr_that_says_ok_and_writes_nothing_is_found_out() -> None:
    with pytest.raises(FlashVerifyError) as refusal:
        flash_chip(avr_settings(), line_to(Optiboot(lie=optiboot.Lie.WRITES_NOTHING)), avr_image())
    assert refusal.value.code == "flash-verify"


def test_an_stm32_that_writes_elsewhere_is_found_out() -> None:
    chip = stm32_chip()
    chip.lie = stm32_rom.Lie.WRITES_ELSEWHERE
    with pytest.raises(FlashVerifyError):
        flash_chip(stm32_settings(), line_to(chip), stm32_image())


def test_a_page_that_is_silently_protected_is_found_out() -> None:
    chip = stm32_chip()
    chip.flash.protected = frozenset((2,))
    with pytest.raises(FlashVerifyError, match="0x8000800"):
        flash_chip(stm32_settings(), line_to(chip), stm32_image())


def test_a_checksum_that_does_not_agree_is_settled_by_reading() -> None:
    chip, image = stm32_chip(SMALL_WITH_CHECKSUM), stm32_image()
    chip.lie = stm32_rom.Lie.WRONG_CHECKSUM
    flash_chip(stm32_settings(SMALL_WITH_CHECKSUM), line_to(chip), image)
    assert held(chip, image)


def test_a_wrong_id_is_refused_before_anything_is_erased() -> None:
    chip = stm32_chip()
    chip.lie = stm32_rom.Lie.WRONG_ID
    avr = Optiboot(lie=optiboot.Lie.WRONG_ID)
    for one, chosen, image in (
        (chip, stm32_settings(), stm32_image()),
        (avr, avr_settings(), avr_image()),
    ):
        with pytest.raises(FlashIdentityError) as refusal:
            flash_chip(chosen, line_to(one), image)
        assert refusal.value.code == "flash-identity"
        assert one.flash.operations == 0


def test_a_chip_that_changes_under_way_does_not_get_its_vectors() -> None:
    chip, image = stm32_chip(), stm32_image()
    chip.lie = stm32_rom.Lie.CHANGES_ID
    with pytest.raises(FlashIdentityError):
        flash_chip(stm32_settings(), line_to(chip), image)
    assert chip.flash.read(chip.flash.start, 4) == b"\xff" * 4
    for honest_answers in (1, 2):
        avr = Optiboot(lie=optiboot.Lie.CHANGES_ID, honest_answers=honest_answers)
        with pytest.raises(FlashIdentityError):
            flash_chip(avr_settings(), line_to(avr), avr_image())
        assert avr.flash.read(0, 4) == b"\xff" * 4


@pytest.mark.parametrize("kind", [STM32, AVR])
def test_silence_ends_in_an_error_within_minutes(kind: str) -> None:
    chip, chosen, image = made(kind)
    for silent_after in (0, 20, 400):
        line = line_to(chip, LineFaults(silent_after_bytes=silent_after))
        with pytest.raises(FlashLineError) as refusal:
            flash_chip(chosen, line, image)
        assert refusal.value.code == "flash-line"
        assert line.clock.now_s < HOUR_S / 6


@pytest.mark.parametrize("kind", [STM32, AVR])
def test_babble_ends_in_an_error_within_minutes(kind: str) -> None:
    chip, chosen, image = made(kind)
    chip.garbage = b"\x1b[2J\x00\xff" * 40
    line = line_to(chip)
    with pytest.raises(FlashError) as refusal:
        flash_chip(chosen, line, image)
    assert str(refusal.value).isprintable()
    assert line.clock.now_s < HOUR_S / 6
    assert chip.flash.operations == 0


def test_one_byte_a_minute_ends_in_an_error() -> None:
    chip = stm32_chip()
    chip.answer_s = 60.0
    line = line_to(chip)
    with pytest.raises(FlashLineError):
        flash_chip(stm32_settings(), line, stm32_image())
    assert line.clock.now_s < HOUR_S


@pytest.mark.parametrize("kind", [STM32, AVR])
def test_late_answers_are_waited_for(kind: str) -> None:
    chip, _, image = flash(kind, LineFaults(), latency_s=0.09)
    assert held(chip, image)


@pytest.mark.parametrize("kind", [STM32, AVR])
def test_a_chip_that_resets_in_mid_page_is_entered_again(kind: str) -> None:
    for byte in (3, 40, 700, 2000):
        chip, chosen, image = made(kind)
        chip.reset_at_byte = byte
        flash_chip(chosen, line_to(chip), image)
        assert held(chip, image)


@pytest.mark.parametrize("kind", [STM32, AVR])
def test_any_lost_byte_to_the_chip_is_recovered_from(kind: str) -> None:
    _, line, _ = flash(kind, LineFaults())
    total = line.wire.bytes_to_chip
    for byte in range(0, total, 37):
        chip, _, image = flash(kind, LineFaults(lose_to_chip=frozenset((byte,))))
        assert held(chip, image), f"byte {byte}"


def test_lost_bytes_of_data_cost_no_new_entry() -> None:
    for byte in (900, 1000, 1300):
        for chip, chosen, image in (made(STM32), made(AVR)):
            line = line_to(chip, LineFaults(lose_to_chip=frozenset((byte,))))
            assert flash_chip(chosen, line, image).attempts == 1, f"byte {byte}"
            assert held(chip, image)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([STM32, AVR]))
def test_a_noisy_line_ends_in_the_image_or_in_an_error(seed: int, kind: str) -> None:
    chip, chosen, image = made(kind)
    faults = LineFaults(seed=seed, flip=0.0005, drop=0.0005, double=0.0005)
    line = line_to(chip, faults)
    try:
        flash_chip(chosen, line, image)
    except FlashError:
        return
    finally:
        assert line.clock.now_s < HOUR_S
    assert held(chip, image)


@pytest.mark.parametrize("kind", [STM32, AVR])
def test_short_reads_end_in_an_error(kind: str) -> None:
    chip, chosen, image = made(kind)
    with pytest.raises(FlashLineError):
        flash_chip(chosen, line_to(chip, LineFaults(short_reads=3)), image)


@pytest.mark.parametrize("kind", [STM32, AVR])
def test_a_pulled_plug_ends_in_an_error_and_a_plugged_one_goes_on(kind: str) -> None:
    chip, chosen, image = made(kind)
    for unplugged_after in (0, 5, 900):
        with pytest.raises(FlashLineError, match="gone"):
            flash_chip(
                chosen, line_to(chip, LineFaults(unplugged_after_bytes=unplugged_after)), image
            )
    flash_chip(chosen, line_to(chip), image)
    assert held(chip, image)


def test_the_wrong_parity_and_the_wrong_rate_are_no_bootloader() -> None:
    chosen = stm32_settings()
    assert isinstance(chosen.protocol, Stm32Settings)
    wrong = replace(chosen, protocol=replace(chosen.protocol, parity=Parity.NONE))
    with pytest.raises(FlashLineError, match="parity"):
        flash_chip(wrong, line_to(stm32_chip()), stm32_image())
    with pytest.raises(FlashLineError, match="baud"):
        flash_chip(avr_settings(baud=57_600), line_to(Optiboot()), avr_image())


def test_a_line_that_loses_bytes_for_ever_is_given_up() -> None:
    commands = Stm32Commands(line_to(stm32_chip()), troubles=TROUBLES_MAX)
    commands.line.open(LineSettings(115_200, Parity.EVEN))
    with pytest.raises(FlashLineError, match="wiring"):
        commands.resync()


@dataclass(slots=True)
class RecordingLine(SimulatedSerialLine):
    """A line with every write of the host written down."""

    sent: list[bytes] = field(default_factory=list)

    def write(self, content: bytes) -> None:
        self.sent.append(content)
        SimulatedSerialLine.write(self, content)


def recording(join: Join, *, keeps_up: bool) -> tuple[RecordingLine, Stm32Commands]:
    """A slow line to a ROM that was asked whether steps may travel together."""
    line = RecordingLine(SimulatedClock(), Stm32Rom(boot0=True, keeps_up=keeps_up), latency_s=0.016)
    line.open(LineSettings(115_200, Parity.EVEN))
    commands = Stm32Commands(line, join)
    commands.synchronise()
    commands.get()
    commands.probe(stm32_rom.FLASH_START, 1 / 115_200)
    return line, commands


def orders_in(content: bytes, lost_together: int = 0) -> set[int]:
    """All that a ROM may take for commands in a write of the host, when it loses so many bytes in a row."""
    return {
        code
        for gap in range(1, lost_together + 2)
        for code, check in zip(content, content[gap:], strict=False)
        if code ^ check == 0xFF
    } & set(stm32_rom.F103.commands)


def test_what_asks_whether_a_rom_keeps_up_can_do_no_harm_whatever_is_lost() -> None:
    line, _ = recording(keeps_up=False, join=Join.BLOCKS)
    asked = next(content for content in line.sent if len(content) > 7)
    for lost in range(1 << len(asked)):
        kept = bytes(value for place, value in enumerate(asked) if not lost >> place & 1)
        assert orders_in(kept) <= {0x00, 0x11}


def test_nothing_that_is_sent_ahead_could_be_taken_for_another_command() -> None:
    line, commands = recording(keeps_up=True, join=Join.ADDRESSES)
    for address in range(stm32_rom.FLASH_START, stm32_rom.FLASH_START + 0x10000, 256):
        for length in (256, 0x83, 0x93, 0x74, 0x44, 0x45):
            commands.read(address, length)
    for content in line.sent:
        if len(content) > 2:
            assert orders_in(content) <= {0x00, 0x11, 0x31}, content.hex()


def test_data_that_could_be_taken_for_a_command_wait_for_their_turn() -> None:
    line, commands = recording(keeps_up=True, join=Join.BLOCKS)
    chance = Random(5)
    blocks = [chance.randbytes(256) for _ in range(200)] + [
        bytes(100) + bytes((0x82, *range(lost), 0x7D)) + bytes(100 - lost) for lost in (0, 2)
    ]
    for number, block in enumerate(blocks):
        commands.write(stm32_rom.FLASH_START + 256 * number, block[: len(block) // 4 * 4])
    together = [content for content in line.sent if len(content) > 20 and content[0] == 0x31]
    assert 150 < len(together) < 200
    for content in together:
        assert orders_in(content[2:], lost_together=3) <= {0x00, 0x01, 0x02, 0x11}


def test_a_second_sync_is_an_objection_and_as_good() -> None:
    line = line_to(Stm32Rom(boot0=True))
    line.open(LineSettings(115_200, Parity.EVEN))
    commands = Stm32Commands(line)
    commands.synchronise()
    commands.synchronise()
    assert commands.get_id() == b"\x04\x10"


@given(st.binary(max_size=600))
@settings(max_examples=60, deadline=None)
def test_from_anything_that_was_half_said_the_rom_is_brought_back(content: bytes) -> None:
    chip = Stm32Rom(boot0=True)
    chip.flash.content[:64] = some_bytes(64)
    line = line_to(chip)
    line.open(LineSettings(115_200, Parity.EVEN))
    commands = Stm32Commands(line)
    commands.synchronise()
    for place in range(0, len(content), 5):
        line.write(content[place : place + 5])
        line.wait(0.01)
    if chip.in_application:  # it was told to go
        return
    commands.resync()
    assert commands.get_id() == b"\x04\x10"
