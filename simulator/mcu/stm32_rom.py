"""A simulated STM32 with the USART bootloader of its ROM (ST AN3155), and the ways in which it can fail.

The ROM waits for ever and has no receive buffer: what arrives while it erases or programs is lost, and so
is what follows an answer in the same breath, but for one byte. It takes even parity and the baud rate of the
first 0x7F. Protected pages are acknowledged and not changed. `Lie` is a chip that says what is not so.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from agent.interfaces import LineSettings, Parity
from simulator.mcu import Pins, Wire
from simulator.mcu.flash import ChipPowerCutError, FlashFaultError, FlashMemory, even_pages

ACK: Final = b"\x79"
NACK: Final = b"\x1f"
FLASH_START: Final = 0x0800_0000
VERSION: Final = 0x31
UNPROTECTED: Final = (0x00, 0x01, 0x02)
"""Get, Get Version and Get ID work on a chip that is protected against reading."""

Session = Generator[None, int, None]
Reading = Generator[None, int, bytes]


class Lie(StrEnum):
    """What a chip says that is not so."""

    NONE = "none"
    WRITES_NOTHING = "writes-nothing"
    WRONG_ID = "wrong-id"
    CHANGES_ID = "changes-id"
    WRITES_ELSEWHERE = "writes-elsewhere"
    WRONG_CHECKSUM = "wrong-checksum"


@dataclass(frozen=True, slots=True)
class Stm32Model:
    """One kind of STM32. Times are those of its data sheet, in seconds."""

    chip: bytes = b"\x04\x10"
    pages: tuple[int, ...] = even_pages(64, 1024)
    extended_erase: bool = False
    checksum: bool = False
    strict: bool = True
    erase_s: float = 0.02
    program_s_per_byte: float = 0.0

    @property
    def commands(self) -> bytes:
        """What Get lists."""
        erase = 0x44 if self.extended_erase else 0x43
        listed = bytes([0x00, 0x01, 0x02, 0x11, 0x21, 0x31, erase, 0x63, 0x73, 0x82, 0x92])
        return listed + (b"\xa1" if self.checksum else b"")


F103: Final = Stm32Model()
G071: Final = Stm32Model(
    chip=b"\x04\x60", pages=even_pages(64, 2048), extended_erase=True, checksum=True
)
"""With Get Checksum, as new ROMs list it."""


@dataclass(slots=True)
class Stm32Rom:
    """One chip. `boot0` is its strap where nobody moves the lines; reset is DTR, BOOT0 is RTS.

    `keeps_up` is a ROM so quick that nothing is lost behind its answers, which no document promises.
    `reset_at_byte` is when it resets by itself; `program_is_real` False leaves out the time of its flash.
    """

    model: Stm32Model = F103
    boot0: bool = True
    parity: Parity | None = Parity.EVEN
    read_protected: bool = False
    lie: Lie = Lie.NONE
    start_s: float = 0.002
    answer_s: float = 0.0
    garbage: bytes = b""
    reset_at_byte: int | None = None
    program_is_real: bool = True
    keeps_up: bool = False
    in_application: bool = False
    starts: int = 0
    powered: bool = True
    flash: FlashMemory = field(default_factory=lambda: FlashMemory(0, ()))
    _session: Session | None = None
    _wire: Wire | None = None
    _settings: LineSettings | None = None
    _ready_s: float = 0.0
    _answered: bool = False
    _in_reset: bool = False
    _bytes: int = 0
    _identities: int = 0

    def __post_init__(self) -> None:
        if not self.flash.pages:
            self.flash = FlashMemory(FLASH_START, self.model.pages, strict=self.model.strict)

    def reset(self, wire: Wire) -> None:
        """Start anew: the ROM when BOOT0 is high, else what the flash holds."""
        self._wire, self._settings, self._session = wire, None, None
        if not self.powered:
            return
        self._ready_s = wire.now_s() + self.start_s
        self.in_application = not self.boot0
        if self.boot0:
            self._session = self._rom()
            next(self._session)
        else:
            self.starts += 1

    def power_on(self, wire: Wire) -> None:
        """The power is back."""
        self.powered = True
        self.reset(wire)

    def pins(self, pins: Pins, wire: Wire) -> None:
        """DTR holds reset, RTS is BOOT0; the strap is read when reset ends."""
        if self._in_reset and not pins.dtr:
            self.boot0 = pins.rts
            self.reset(wire)
        self._in_reset = pins.dtr

    def receive(self, content: bytes, settings: LineSettings | None, wire: Wire) -> None:
        """Bytes for the ROM; an application hears them and says nothing."""
        if self._session is None and not self.in_application and self._wire is None:
            self.reset(wire)  # the power was on before the line was there
            self._ready_s = 0.0
        self._wire = wire
        if self._in_reset or self._session is None or wire.now_s() < self._ready_s:
            return
        if not self._understands(settings):
            return
        self._answered, spare = False, 1
        for value in content:
            if self._answered and spare < 0 and not self.keeps_up:
                return  # overrun: there is no buffer
            spare -= self._answered
            self._bytes += 1
            if self._bytes == self.reset_at_byte:
                self.reset(wire)
                return
            if not self._feed(value):
                return

    def _feed(self, value: int) -> bool:
        """Give the ROM one byte; whether it still runs."""
        assert self._session is not None, "the caller has looked"
        try:
            self._session.send(value)
        except ChipPowerCutError:
            self._session = None
            self.powered = False
        except StopIteration:
            self._session = None
            self.in_application = True
        return self._session is not None

    def _understands(self, settings: LineSettings | None) -> bool:
        if settings is None:
            return True
        if self.parity is not None and settings.parity is not self.parity:
            return False
        if self._settings is None:
            self._settings = settings
        return settings.baud == self._settings.baud

    def _say(self, content: bytes, after_s: float = 0.0) -> None:
        assert self._wire is not None, "only a chip on a wire is asked"
        self._answered = True
        self._wire.send(self.garbage + content, self.answer_s + after_s)

    def _busy(self, duration_s: float) -> float:
        assert self._wire is not None, "only a chip on a wire is asked"
        lasts_s = duration_s if self.program_is_real else 0.0
        self._ready_s = self._wire.now_s() + lasts_s
        return lasts_s

    def _rom(self) -> Session:
        while (yield) != 0x7F:
            pass  # measured as some other baud rate: what a real ROM says then is noise
        self._say(ACK)
        running = True
        while running:
            code = yield
            check = yield
            denied = self.read_protected and code not in UNPROTECTED
            if code ^ check != 0xFF or code not in self.model.commands or denied:
                self._say(NACK)
            else:
                running = yield from self._command(code)

    def _command(self, code: int) -> Generator[None, int, bool]:
        """One command; whether the ROM goes on."""
        self._say(ACK)
        match code:
            case 0x00 | 0x01 | 0x02:
                self._say(self._facts(code) + ACK)
            case 0x11:
                yield from self._read()
            case 0x21:
                address = yield from self._address(4)
                self.starts += address is not None
                return address is None
            case 0x31:
                yield from self._write()
            case 0x43:
                yield from self._erase()
            case 0x44:
                yield from self._extended_erase()
            case 0xA1:
                yield from self._checksum()
            case 0x82:  # all but the facts is denied from here on
                self.read_protected = True
                self._say(ACK)
            case _:
                self._say(NACK)  # protections are nobody's business here
        return True

    def _facts(self, code: int) -> bytes:
        match code:
            case 0x00:
                listed = self.model.commands
                return bytes([len(listed), VERSION]) + listed
            case 0x01:
                return bytes([VERSION, 0, 0])
            case _:
                return bytes([1]) + self._chip_id()

    def _chip_id(self) -> bytes:
        self._identities += 1
        changed = self.lie is Lie.CHANGES_ID and self._identities > 2
        return b"\x04\x99" if changed or self.lie is Lie.WRONG_ID else self.model.chip

    def _take(self, length: int) -> Reading:
        taken = bytearray()
        for _ in range(length):
            taken.append((yield))
        return bytes(taken)

    def _number(self) -> Generator[None, int, int | None]:
        block = yield from self._take(5)
        if block[0] ^ block[1] ^ block[2] ^ block[3] != block[4]:
            return None
        return int.from_bytes(block[:4], "big")

    def _address(self, length: int) -> Generator[None, int, int | None]:
        address = yield from self._number()
        if address is None or not self.flash.holds(address, length):
            self._say(NACK)
            return None
        self._say(ACK)
        return address

    def _read(self) -> Session:
        address = yield from self._address(1)
        if address is None:
            return
        count, check = yield from self._take(2)
        if count ^ check != 0xFF or not self.flash.holds(address, count + 1):
            self._say(NACK)
            return
        self._say(ACK + self.flash.read(address, count + 1))

    def _write(self) -> Session:
        address = yield from self._address(1)
        if address is None:
            return
        count = yield
        block = yield from self._take(count + 1)
        check = yield
        for value in block:
            check ^= value
        if check != count or not self.flash.holds(address, len(block)) or address % 4:
            self._say(NACK)
            return
        lasts_s = self._busy(len(block) * self.model.program_s_per_byte)
        if not self._program(address, block):
            self._say(NACK, lasts_s)
            return
        self._say(ACK, lasts_s)

    def _program(self, address: int, block: bytes) -> bool:
        if self.lie is Lie.WRITES_NOTHING:
            return True
        if self.lie is Lie.WRITES_ELSEWHERE:
            address = self.flash.start
        try:
            self.flash.program(address, block)
        except FlashFaultError:
            return self.lie is not Lie.NONE
        return True

    def _erase(self) -> Session:
        count = yield
        if count == 0xFF:
            check = yield
            pages = range(len(self.flash.pages)) if check == 0 else None
            self._erase_all(pages)
            return
        numbers = yield from self._take(count + 1)
        check = yield
        for value in numbers:
            check ^= value
        self._erase_all(numbers if check == count else None)

    def _extended_erase(self) -> Session:
        head = yield from self._take(2)
        count = int.from_bytes(head, "big")
        if count >= 0xFFF0:
            check = yield
            whole = count == 0xFFFF and check == head[0] ^ head[1]
            self._erase_all(range(len(self.flash.pages)) if whole else None)
            return
        block = yield from self._take(2 * (count + 1))
        check = yield
        for value in head + block:
            check ^= value
        numbers = [int.from_bytes(block[at : at + 2], "big") for at in range(0, len(block), 2)]
        self._erase_all(numbers if check == 0 else None)

    def _erase_all(self, pages: "range | bytes | list[int] | None") -> None:
        if pages is None or any(page >= len(self.flash.pages) for page in pages):
            self._say(NACK)
            return
        lasts_s = self._busy(len(pages) * self.model.erase_s)
        for page in pages:
            if self.lie is not Lie.WRITES_NOTHING:
                self.flash.erase(page)
        self._say(ACK, lasts_s)

    def _checksum(self) -> Session:
        address = yield from self._address(4)
        if address is None:
            return
        values: list[int] = []
        for _ in range(3):
            value = yield from self._number()
            if value is None:
                self._say(NACK)
                return
            values.append(value)
            if len(values) < 3:
                self._say(ACK)
        length, polynomial, seed = values
        if not length or length % 4 or not self.flash.holds(address, length):
            self._say(NACK)
            return
        crc = remainder(self.flash.read(address, length), polynomial, seed)
        if self.lie is Lie.WRONG_CHECKSUM:
            crc ^= 1
        answer = crc.to_bytes(4, "big")
        self._say(ACK + answer + bytes([answer[0] ^ answer[1] ^ answer[2] ^ answer[3]]))


def remainder(content: bytes, polynomial: int, seed: int) -> int:
    """What the chip's CRC unit leaves after these little-endian words, bit by bit."""
    register = seed
    for at in range(0, len(content), 4):
        register ^= int.from_bytes(content[at : at + 4], "little")
        for _ in range(32):
            carry = register >> 31
            register = register << 1 & 0xFFFFFFFF
            if carry:
                register ^= polynomial
    return register
