import tomllib
from dataclasses import dataclass, field, replace

import pytest

from agent.errors import FlashLineError, FlashRefusedError, ProfileError
from agent.flash.entry import (
    REOPEN_TRIES,
    CommandEntry,
    EntrySettings,
    GpioEntry,
    LinesEntry,
    NoEntry,
    Signal,
    TouchEntry,
    Wire,
    enter,
    leave,
    parse_entry,
)
from agent.flash.esptool import EsptoolSettings
from agent.flash.image_file import ImageFormat
from agent.flash.select import ChipSettings, make_flasher, parse_chip, parse_image
from agent.flash.stk500v1 import Stk500v1
from agent.flash.stm32_uart import Stm32Settings, Stm32Uart
from agent.interfaces import LineSettings, Parity
from agent.strict import Fields, Refusal
from simulator.mcu.optiboot import Optiboot
from tests.flash.chips import line_to

STM32 = """
protocol = "stm32-uart"
port = "/dev/serial/by-id/usb-motor"
chip = "0410"
flash_start = 0x08000000
pages = [{ count = 64, size_bytes = 1024 }]
image_format = "intel-hex"
[entry]
by = "lines"
reset = "dtr"
boot = "!rts"
"""
AVR = """
protocol = "stk500v1"
port = "socket://10.0.0.7:2000"
signature = "1e950f"
page_bytes = 128
boot_start = 0x7e00
image_format = "raw"
[entry]
by = "gpio"
reset = "!gpiochip0/17"
pulse_ms = 20
"""
ESP = """
protocol = "esptool"
port = "/dev/serial/by-id/usb-radio"
chip = "esp32c3"
flash_bytes = 0x400000
image_format = "raw"
image_start = 0x10000
[entry]
by = "none"
"""
LINE = LineSettings(115_200)


def fields(text: str) -> Fields:
    return Fields(tomllib.loads(text), Refusal(ProfileError, "profile"))


def chip(text: str) -> ChipSettings:
    return parse_chip(fields(text))


@dataclass
class Recorder:
    """A line and pins that write down what is done to them."""

    done: list[str] = field(default_factory=list)
    closed_for: int = 0

    def open(self, settings: LineSettings) -> None:
        if self.closed_for:
            self.closed_for -= 1
            raise FlashLineError("not there yet")
        self.done.append(f"open {settings.baud}")

    def close(self) -> None:
        self.done.append("close")

    def write(self, content: bytes) -> None:
        self.done.append(f"write {content.hex()}")

    def read(self, length_bytes: int, timeout_s: float) -> bytes:
        raise AssertionError((length_bytes, timeout_s))

    def read_until(self, end: bytes, length_max: int, timeout_s: float) -> bytes:
        raise AssertionError((end, length_max, timeout_s))

    def discard_input(self) -> None:
        self.done.append("discard")

    def set_lines(self, *, dtr: bool | None = None, rts: bool | None = None) -> None:
        self.done += [f"dtr {dtr}"] if dtr is not None else []
        self.done += [f"rts {rts}"] if rts is not None else []

    def wait(self, duration_s: float) -> None:
        self.done.append(f"wait {duration_s}")

    def set(self, pin: str, *, high: bool) -> None:
        self.done.append(f"{pin} {'high' if high else 'low'}")

    def release(self, pin: str) -> None:
        self.done.append(f"{pin} released")


def test_an_stm32_s_table_is_read() -> None:
    settings = chip(STM32)
    assert isinstance(settings.protocol, Stm32Settings)
    assert settings.line == LineSettings(115_200, Parity.EVEN)
    assert settings.image_format is ImageFormat.INTEL_HEX
    assert settings.image_start == 0x0800_0000
    assert isinstance(settings.entry, LinesEntry)
    assert settings.entry.boot == Wire(Signal.RTS, asserted=False)
    assert isinstance(make_flasher(settings, line_to(Optiboot())), Stm32Uart)


def test_an_avr_s_table_is_read() -> None:
    settings = chip(AVR)
    assert settings.entry == GpioEntry("!gpiochip0/17", None, 0.02, 0.05, 0.05)
    assert settings.line == LineSettings(115_200)
    assert isinstance(make_flasher(settings, line_to(Optiboot())), Stk500v1)
    assert parse_image(b"ab", settings).regions[0].start == 0


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (STM32.replace("0410", "410"), "chip"),
        (STM32.replace("0410", "041G"), "chip"),
        (STM32.replace("1024", "1000"), "size_bytes"),
        (STM32.replace("count = 64", "count = 0"), "count"),
        (STM32.replace("stm32-uart", "stm32-usb"), "protocol"),
        (STM32.replace("intel-hex", "elf"), "image_format"),
        (STM32.replace('"!rts"', '"cts"'), "boot"),
        (STM32.replace('by = "lines"', 'by = "magic"'), "by"),
        (STM32 + "hold_ms = 1", "hold_ms"),
        (STM32 + "pulse_ms = 60001", "pulse_ms"),
        ("fast = true\n" + STM32, "fast"),
        ('parity = "mark"\n' + STM32, "parity"),
        ("baud = 1\n" + STM32, "baud"),
        (AVR.replace("page_bytes = 128", "page_bytes = 100"), "page_bytes"),
        (AVR.replace("0x7e00", "0x7e01"), "boot_start"),
        (AVR.replace("1e950f", "1e95"), "signature"),
    ],
)
def test_a_wrong_key_is_named(text: str, key: str) -> None:
    with pytest.raises(ProfileError, match=key):
        chip(text)


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ('by = "none"', NoEntry()),
        ('by = "touch-1200"', TouchEntry(0.5)),
        ('by = "touch-1200"\nboot_ms = 2000', TouchEntry(2.0)),
        ('by = "command"\nsend = "7e 01"\nbaud = 9600', CommandEntry(b"\x7e\x01", 9600, 0.5)),
    ],
)
def test_entries_are_read(text: str, entry: EntrySettings) -> None:
    assert parse_entry(fields(text)) == entry


@pytest.mark.parametrize("send", ["", "7", "zz"])
def test_a_command_without_bytes_is_refused(send: str) -> None:
    with pytest.raises(ProfileError, match="send"):
        parse_entry(fields(f'by = "command"\nsend = "{send}"\nbaud = 9600'))


def test_lines_pulse_reset_while_boot_is_held_and_let_it_go_to_leave() -> None:
    recorder = Recorder()
    entry = LinesEntry(Wire(Signal.DTR, asserted=True), Wire(Signal.RTS, asserted=False), 1, 2, 3)
    enter(entry, recorder, LINE, None)
    pulse = ["wait 2", "dtr True", "wait 1", "dtr False", "wait 3"]
    assert recorder.done == ["open 115200", "dtr False", "rts False", *pulse, "discard"]
    recorder.done.clear()
    leave(entry, recorder, None)
    assert recorder.done == ["dtr False", "rts True", *pulse]


def test_gpio_drives_pins_and_releases_them() -> None:
    recorder = Recorder()
    entry = GpioEntry("!c/1", "c/2", 1, 2, 3)
    enter(entry, recorder, LINE, recorder)
    assert recorder.done == [
        *("open 115200", "c/2 high", "wait 2", "c/1 low", "wait 1", "c/1 high", "wait 3"),
        *("c/1 released", "c/2 released", "discard"),
    ]
    recorder.done.clear()
    leave(entry, recorder, recorder)
    assert recorder.done[0] == "c/2 low"
    with pytest.raises(FlashRefusedError, match="gpio"):
        enter(entry, recorder, LINE, None)


def test_a_touched_port_is_found_again_when_it_comes_back() -> None:
    recorder = Recorder()
    enter(TouchEntry(0.5), recorder, LINE, None)
    assert recorder.done == [
        *("open 1200", "dtr False", "wait 0.1", "close", "wait 0.5", "open 115200", "discard"),
    ]
    gone = Recorder(closed_for=5)
    with pytest.raises(FlashLineError):
        enter(TouchEntry(0.5), gone, LINE, None)  # already gone at the touch: nothing to wait for


def test_a_touched_port_that_stays_away_is_an_error() -> None:
    @dataclass
    class Vanishing(Recorder):
        def close(self) -> None:
            self.closed_for = REOPEN_TRIES

    with pytest.raises(FlashLineError):
        enter(TouchEntry(0.5), Vanishing(), LINE, None)


def test_a_command_is_sent_to_the_firmware_at_its_own_rate() -> None:
    recorder = Recorder()
    enter(CommandEntry(b"\x7e", 9600, 0.5), recorder, LINE, None)
    assert recorder.done == ["open 9600", "write 7e", "wait 0.5", "open 115200", "discard"]
    leave(CommandEntry(b"\x7e", 9600, 0.5), recorder, None)
    leave(NoEntry(), recorder, None)


def test_a_table_for_esptool_says_who_moves_the_lines() -> None:
    settings = parse_chip(fields(ESP))
    assert settings.protocol == EsptoolSettings("esp32c3", 0x400000, 115_200, own_reset=True)
    by_pins = ESP.replace('by = "none"', 'by = "gpio"\nreset = "!gpiochip0/17"')
    assert parse_chip(fields(by_pins)).protocol == replace(settings.protocol, own_reset=False)


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("esp32c3", "esp8266", "chip"),
        ("0x10000", "0x10001", "image_start"),
        ('"raw"', '"intel-hex"', "image_format"),
        ('by = "none"', 'by = "touch-1200"', "entry"),
    ],
)
def test_a_table_for_esptool_that_could_not_work_is_refused(old: str, new: str, found: str) -> None:
    with pytest.raises(ProfileError, match=found):
        parse_chip(fields(ESP.replace(old, new)))
