"""Ways into a bootloader, apart from what is spoken there, and out again.

Lines are named by what they do, and a wire with an inverter in between is `active = "high"`: most boards
pull reset low when the line is asserted. GPIO goes through a `GpioPins` that only the edge can make
(`agent/linux/gpio.py`, with an optional library).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, assert_never

from agent.errors import FlashLineError, FlashRefusedError
from agent.interfaces import LineSettings, SerialLine
from agent.strict import Fields

TOUCH_BAUD: Final = 1200
TOUCH_HOLD_S: Final = 0.1
REOPEN_TRIES: Final = 20
REOPEN_PAUSE_S: Final = 0.25
MILLISECONDS: Final = 1000.0
COMMAND_BYTES_MAX: Final = 256


class Signal(StrEnum):
    """A control line of the serial port."""

    DTR = "dtr"
    RTS = "rts"


class GpioPins(Protocol):
    """General-purpose pins by name, such as `gpiochip0/17`. Raises `FlashLineError`."""

    def set(self, pin: str, *, high: bool) -> None:
        """Drive a pin; it stays so until it is set again or released."""
        ...

    def release(self, pin: str) -> None:
        """Make a pin an input again."""
        ...


@dataclass(frozen=True, slots=True)
class Wire:
    """One line and the level of it that means "asserted" (False: the inactive level does)."""

    signal: Signal
    asserted: bool


@dataclass(frozen=True, slots=True)
class LinesEntry:
    """Reset, and where there is one a boot-selection pin, on the port's control lines.

    The boot line is set `settle_s` before the pulse, reset is held for `pulse_s`, and the chip has
    `boot_s` before it is spoken to.
    """

    reset: Wire
    boot: Wire | None
    pulse_s: float
    settle_s: float
    boot_s: float


@dataclass(frozen=True, slots=True)
class GpioEntry:
    """The same on pins of this computer; a pin with `!` in front acts when it is low."""

    reset: str
    boot: str | None
    pulse_s: float
    settle_s: float
    boot_s: float


@dataclass(frozen=True, slots=True)
class TouchEntry:
    """Opening at 1200 baud and closing again makes the firmware restart as a bootloader.

    The port goes and comes back; name it by a path that survives this, in `/dev/serial/by-id/`.
    """

    boot_s: float


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """Bytes that the running firmware takes as the order to start its bootloader."""

    content: bytes
    baud: int
    boot_s: float


@dataclass(frozen=True, slots=True)
class NoEntry:
    """The bootloader listens by itself, or someone else has started it."""


EntrySettings = LinesEntry | GpioEntry | TouchEntry | CommandEntry | NoEntry


def needs_firmware(entry: EntrySettings) -> bool:
    """Whether only firmware that works can be asked to enter: then a cut may leave no way in."""
    return isinstance(entry, TouchEntry | CommandEntry)


def enter(
    entry: EntrySettings, line: SerialLine, settings: LineSettings, pins: GpioPins | None
) -> None:
    """Bring the chip into its bootloader and open the line as it speaks there."""
    match entry:
        case LinesEntry():
            line.open(settings)
            _pulse_lines(entry, line, to_bootloader=True)
        case GpioEntry():
            line.open(settings)
            _pulse_pins(entry, line, _required(pins), to_bootloader=True)
        case TouchEntry():
            line.open(LineSettings(TOUCH_BAUD))
            line.set_lines(dtr=False)
            line.wait(TOUCH_HOLD_S)
            line.close()
            line.wait(entry.boot_s)
            reopen(line, settings)
        case CommandEntry():
            line.open(LineSettings(entry.baud))
            line.write(entry.content)
            line.wait(entry.boot_s)
            line.open(settings)
        case NoEntry():
            line.open(settings)
        case never:
            assert_never(never)
    line.discard_input()


def leave(entry: EntrySettings, line: SerialLine, pins: GpioPins | None) -> None:
    """Restart the chip into its image, where a line can; else the bootloader's own start must do."""
    match entry:
        case LinesEntry():
            _pulse_lines(entry, line, to_bootloader=False)
        case GpioEntry():
            _pulse_pins(entry, line, _required(pins), to_bootloader=False)
        case TouchEntry() | CommandEntry() | NoEntry():
            pass
        case never:
            assert_never(never)


def reopen(line: SerialLine, settings: LineSettings) -> None:
    """Open a port that is gone for a while. Raises `FlashLineError` when it stays so."""
    for _ in range(REOPEN_TRIES - 1):
        try:
            line.open(settings)
        except FlashLineError:
            line.wait(REOPEN_PAUSE_S)
        else:
            return
    line.open(settings)


def _pulse_lines(entry: LinesEntry, line: SerialLine, *, to_bootloader: bool) -> None:
    _set(line, entry.reset, active=False)
    if entry.boot is not None:
        _set(line, entry.boot, active=to_bootloader)
    line.wait(entry.settle_s)
    _set(line, entry.reset, active=True)
    line.wait(entry.pulse_s)
    _set(line, entry.reset, active=False)
    line.wait(entry.boot_s)


def _set(line: SerialLine, wire: Wire, *, active: bool) -> None:
    level = wire.asserted if active else not wire.asserted
    match wire.signal:
        case Signal.DTR:
            line.set_lines(dtr=level)
        case Signal.RTS:
            line.set_lines(rts=level)
        case never:
            assert_never(never)


def _pulse_pins(entry: GpioEntry, line: SerialLine, pins: GpioPins, *, to_bootloader: bool) -> None:
    if entry.boot is not None:
        _drive(pins, entry.boot, active=to_bootloader)
    line.wait(entry.settle_s)
    _drive(pins, entry.reset, active=True)
    line.wait(entry.pulse_s)
    _drive(pins, entry.reset, active=False)
    line.wait(entry.boot_s)
    pins.release(entry.reset.removeprefix("!"))
    if entry.boot is not None:
        pins.release(entry.boot.removeprefix("!"))


def _drive(pins: GpioPins, pin: str, *, active: bool) -> None:
    pins.set(pin.removeprefix("!"), high=active != pin.startswith("!"))


def _required(pins: GpioPins | None) -> GpioPins:
    if pins is None:
        raise FlashRefusedError(
            "entry over GPIO was asked for and this agent has no GPIO: install lockgate[gpio]"
        )
    return pins


def parse_entry(fields: Fields) -> EntrySettings:
    """The table `entry` of a microcontroller; `docs/microcontrollers.md` explains each key."""
    entry: EntrySettings
    match fields.choice("by", "lines", "gpio", "touch-1200", "command", "none"):
        case "lines":
            entry = LinesEntry(
                reset=_wire(fields, "reset"),
                boot=_wire(fields, "boot") if "boot" in fields else None,
                pulse_s=_milliseconds(fields, "pulse_ms", 100),
                settle_s=_milliseconds(fields, "settle_ms", 50),
                boot_s=_milliseconds(fields, "boot_ms", 50),
            )
        case "gpio":
            entry = GpioEntry(
                reset=fields.text("reset", length_max=64),
                boot=fields.text("boot", length_max=64) if "boot" in fields else None,
                pulse_s=_milliseconds(fields, "pulse_ms", 100),
                settle_s=_milliseconds(fields, "settle_ms", 50),
                boot_s=_milliseconds(fields, "boot_ms", 50),
            )
        case "touch-1200":
            entry = TouchEntry(boot_s=_milliseconds(fields, "boot_ms", 500))
        case "command":
            entry = CommandEntry(
                content=_hexadecimal(fields, "send"),
                baud=fields.integer("baud", 300, 4_000_000),
                boot_s=_milliseconds(fields, "boot_ms", 500),
            )
        case _:
            entry = NoEntry()
    fields.done()
    return entry


def _wire(fields: Fields, key: str) -> Wire:
    text = fields.choice(key, "dtr", "rts", "!dtr", "!rts")
    return Wire(signal=Signal(text.removeprefix("!")), asserted=not text.startswith("!"))


def _milliseconds(fields: Fields, key: str, default: int) -> float:
    return fields.integer(key, 0, 60_000, default=default) / MILLISECONDS


def _hexadecimal(fields: Fields, key: str) -> bytes:
    text = fields.text(key, length_max=2 * COMMAND_BYTES_MAX)
    try:
        content = bytes.fromhex(text)
    except ValueError:
        content = b""
    if not content:
        fields.refuse(key, f"bytes in hexadecimal digits were expected, {text[:40]!r} found")
    return content
