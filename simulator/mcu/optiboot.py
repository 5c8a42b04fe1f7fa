"""A simulated ATmega328P with Optiboot 4.4, as Debian's arduino-core-avr builds it.

After an external reset it blinks for 0.375 s and listens then, for one second after each byte; a command
that does not end in a space makes it start the firmware, and firmware answers nothing. The receiver keeps
three bytes that nobody reads. A page is erased when its header comes and programmed from a buffer that
keeps what earlier commands left in it. Lock bits keep the boot section from being written.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Final

from agent.interfaces import LineSettings
from simulator.mcu import Pins, Wire
from simulator.mcu.flash import ChipPowerCutError, FlashMemory, even_pages
from simulator.mcu.wire import byte_s

IN_SYNC: Final = b"\x14"
OK: Final = b"\x10"
SPACE: Final = 0x20
PAGE_BYTES: Final = 128
FLASH_BYTES: Final = 32 * 1024
BOOT_BYTES: Final = 512
NO_READ_WHILE_WRITE: Final = 0x7000
"""From here on the processor stands still while a page is erased, so that is done last."""
VERSION: Final = {0x81: b"\x04", 0x82: b"\x04"}
IGNORED: Final = {"B": 20, "E": 5, "V": 4}
"""Bytes of commands that do nothing: device, extended device, SPI."""
BLINK_S: Final = 0.375
WATCHDOG_S: Final = 1.0
SHORT_WATCHDOG_S: Final = 0.016
PAGE_S: Final = 0.0045
HARDWARE_BUFFER_BYTES: Final = 3

Session = Generator[None, int, None]


class Lie(StrEnum):
    """What a chip says that is not so."""

    NONE = "none"
    WRITES_NOTHING = "writes-nothing"
    WRONG_ID = "wrong-id"
    CHANGES_ID = "changes-id"


@dataclass(slots=True)
class Optiboot:
    """One chip; its reset is the falling edge of DTR through a capacitor.

    `buffer_bytes` is how much of what arrives while nobody reads is kept, and `program_is_real` False
    leaves out the time that flash takes. `reset_at_byte` is when it resets by itself, and
    `CHANGES_ID` begins after `honest_answers` signatures.
    """

    baud: int = 115_200
    signature: bytes = b"\x1e\x95\x0f"
    blink_s: float = BLINK_S
    buffer_bytes: int = HARDWARE_BUFFER_BYTES
    program_is_real: bool = True
    lie: Lie = Lie.NONE
    honest_answers: int = 1
    garbage: bytes = b""
    reset_at_byte: int | None = None
    starts: int = 0
    powered: bool = True
    flash: FlashMemory = field(
        default_factory=lambda: FlashMemory(
            0,
            even_pages(FLASH_BYTES // PAGE_BYTES, PAGE_BYTES),
            protected=frozenset(
                range((FLASH_BYTES - BOOT_BYTES) // PAGE_BYTES, FLASH_BYTES // PAGE_BYTES)
            ),
        )
    )
    _session: Session | None = None
    _wire: Wire | None = None
    _dtr: bool = False
    _ram: bytearray = field(default_factory=lambda: bytearray(256))
    _held: int = 0
    _listens_s: float = 0.0
    _fed_s: float = 0.0
    _watchdog_s: float = WATCHDOG_S
    _address: int = 0
    _bytes: int = 0
    _signatures: int = 0

    @property
    def in_application(self) -> bool:
        """Whether the firmware runs, or would if there were any."""
        return self._session is None

    def reset(self, wire: Wire) -> None:
        """An external reset, the only one after which the bootloader listens."""
        self._wire = wire
        if not self.powered:
            return
        self._held = 0
        self._address = 0
        self._watchdog_s = WATCHDOG_S
        self._listens_s = self._fed_s = wire.now_s() + self.blink_s
        self._session = self._boot()
        next(self._session)

    def power_on(self, wire: Wire) -> None:
        """The power is back; real ones need an external reset on top, which boards give at once."""
        self.powered = True
        self.reset(wire)

    def pins(self, pins: Pins, wire: Wire) -> None:
        """Asserting DTR pulses reset."""
        if pins.dtr and not self._dtr:
            self.reset(wire)
        self._dtr = pins.dtr

    def receive(self, content: bytes, settings: LineSettings | None, wire: Wire) -> None:
        """Bytes; of those that come while the bootloader is busy it finds the first few later."""
        self._wire = wire
        wrong = settings is not None and settings != LineSettings(self.baud)
        now_s = wire.now_s()
        if now_s >= self._listens_s:
            self._held = 0
        for value in content:
            if now_s < self._listens_s:
                if self._held >= self.buffer_bytes:
                    continue  # overrun
                self._held += 1
            self._read(value ^ 0xA5 if wrong else value, max(now_s, self._listens_s))

    def _read(self, value: int, now_s: float) -> None:
        if self._session is None:
            return
        if now_s - self._fed_s > self._watchdog_s:
            self._start_firmware()
            return
        self._fed_s = now_s
        self._bytes += 1
        if self._bytes == self.reset_at_byte and self._wire is not None:
            self.reset(self._wire)
            return
        try:
            self._session.send(value)
        except ChipPowerCutError:
            self._session = None
            self.powered = False
        except StopIteration:
            self._start_firmware()

    def _start_firmware(self) -> None:
        self._session = None
        self.starts += 1

    def _say(self, content: bytes) -> float:
        assert self._wire is not None, "only a chip on a wire is asked"
        after_s = max(0.0, self._listens_s - self._wire.now_s())
        return self._wire.send(self.garbage + content, after_s)

    def _busy(self, duration_s: float) -> None:
        assert self._wire is not None, "only a chip on a wire is asked"
        begin_s = max(self._wire.now_s(), self._listens_s)
        self._listens_s = begin_s + duration_s
        self._fed_s = max(self._fed_s, self._listens_s)

    def _boot(self) -> Session:
        listening = True
        while listening:
            command = chr((yield))
            match command:
                case "U":
                    low = yield
                    high = yield
                    self._address = (low | high << 8) * 2 & 0xFFFF
                    listening = yield from self._answer()
                case "d":
                    listening = yield from self._program()
                case "t":
                    listening = yield from self._send_memory()
                case "u":
                    listening = yield from self._answer(self._identity)
                case "A":
                    which = yield
                    listening = yield from self._answer(partial(bytes, VERSION.get(which, b"\x03")))
                case _:
                    if command == "Q":
                        self._watchdog_s = SHORT_WATCHDOG_S
                    yield from self._skip(IGNORED.get(command, 0))
                    universal = b"\x00" if command == "V" else b""
                    listening = yield from self._answer(partial(bytes, universal))

    def _skip(self, count: int) -> Session:
        for _ in range(count):
            yield

    def _answer(self, content: Callable[[], bytes] = bytes) -> Generator[None, int, bool]:
        if (yield) != SPACE:
            return False
        self._say(IN_SYNC)
        self._say(content() + OK)
        return True

    def _identity(self) -> bytes:
        self._signatures += 1
        changed = self.lie is Lie.CHANGES_ID and self._signatures > self.honest_answers
        return b"\x1e\x95\x14" if changed or self.lie is Lie.WRONG_ID else self.signature

    def _length(self) -> Generator[None, int, int]:
        yield
        length = yield
        yield
        return length or 256  # one byte that counts down to nothing

    def _program(self) -> Generator[None, int, bool]:
        length = yield from self._length()
        page = self._address % FLASH_BYTES // PAGE_BYTES
        early = self._address < NO_READ_WHILE_WRITE
        if early:
            self._erase(page)
        for place in range(length):
            self._ram[place] = yield
        if not early:
            self._erase(page)
        if (yield) != SPACE:
            return False
        self._say(IN_SYNC)
        if self.program_is_real:
            self._busy(PAGE_S if early else 2 * PAGE_S)
        if self.lie is not Lie.WRITES_NOTHING:
            turn = self._address % PAGE_BYTES & ~1
            content = bytes(self._ram[:PAGE_BYTES])
            turned = content[PAGE_BYTES - turn :] + content[: PAGE_BYTES - turn]
            self.flash.program(page * PAGE_BYTES, turned)
        self._say(OK)
        return True

    def _erase(self, page: int) -> None:
        if self.lie is not Lie.WRITES_NOTHING:
            self.flash.erase(page)

    def _send_memory(self) -> Generator[None, int, bool]:
        length = yield from self._length()
        if (yield) != SPACE:
            return False
        memory = bytes(self.flash.content)
        start = self._address % FLASH_BYTES
        content = (memory + memory)[start : start + length]
        self._address = (self._address + length) & 0xFFFF
        sent_s = self._say(IN_SYNC + content + OK)
        # The transmitter holds two bytes; until it has taken the last nobody listens.
        self._listens_s = max(self._listens_s, sent_s - 2 * byte_s(LineSettings(self.baud)))
        return True
