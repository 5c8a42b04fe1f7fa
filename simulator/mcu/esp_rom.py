"""A simulated ESP32 with the serial loader of its ROM, as far as flashing without a stub needs it.

Frames are SLIP; a request is `00 command length16 checksum32 data`, an answer `01 command length16 value32
data status`, little-endian. Flash is erased by "begin", all of the region at once; data come plain or
deflated; only the MD5 that the ROM computes tells what the flash holds. Source: Espressif, "Serial
Protocol" in the documentation of esptool; registers from the ESP32 Technical Reference Manual.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from agent.interfaces import LineSettings
from simulator.mcu import Pins, Wire
from simulator.mcu.flash import ChipPowerCutError, FlashMemory, even_pages

END, ESCAPE, ESCAPED_END, ESCAPED_ESCAPE = 0xC0, 0xDB, 0xDC, 0xDD
BANNER: Final = b"ets Jun  8 2016 00:22:57\r\nwaiting for download\r\n"
SECTOR_BYTES: Final = 4096
FLASH_BYTES: Final = 1024 * 1024
FRAME_BYTES_MAX: Final = 8192
SYNC_ANSWERS: Final = 8
SYNC_VALUE: Final = 0x2012_0707
CHECKSUM_SEED: Final = 0xEF
MAGIC_REGISTER: Final = 0x4000_1000
MAGIC: Final = 0x00F0_1D83
SPI_COMMAND: Final = 0x3FF4_2000
SPI_W0: Final = 0x3FF4_2080
FLASH_ID: Final = 0x0014_40EF
"""A flash of one mebibyte, as its maker's byte, its type and its size say."""
PROGRAM_BYTES: Final = 256


class Command(IntEnum):
    """The commands of the ROM that are here."""

    FLASH_BEGIN = 0x02
    FLASH_DATA = 0x03
    FLASH_END = 0x04
    SYNC = 0x08
    WRITE_REGISTER = 0x09
    READ_REGISTER = 0x0A
    SPI_SET_PARAMETERS = 0x0B
    SPI_ATTACH = 0x0D
    CHANGE_BAUD = 0x0F
    DEFLATE_BEGIN = 0x10
    DEFLATE_DATA = 0x11
    DEFLATE_END = 0x12
    SPI_FLASH_MD5 = 0x13


class Fault(IntEnum):
    """What the ROM answers instead of doing it."""

    INVALID = 0x05
    FAILED = 0x06
    CHECKSUM = 0x07


class RomFaultError(Exception):
    """The ROM refuses a command."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.name)
        self.fault = fault


@dataclass(slots=True)
class EspRom:
    """One chip that was reset into its loader; a loader waits for ever.

    `writes_nothing` is one that says yes and leaves its flash as it is.
    """

    writes_nothing: bool = False
    powered: bool = True
    in_application: bool = False
    starts: int = 0
    boot0: bool = True
    flash: FlashMemory = field(
        default_factory=lambda: FlashMemory(
            0, even_pages(FLASH_BYTES // SECTOR_BYTES, SECTOR_BYTES)
        )
    )
    _frame: bytearray = field(default_factory=bytearray)
    _escaped: bool = False
    _place: int = 0
    _expected: int = 0
    _inflate: "zlib._Decompress | None" = None
    _registers: dict[int, int] = field(default_factory=dict)
    _pins: Pins = field(default_factory=lambda: Pins(dtr=False, rts=False))

    def power_on(self, wire: Wire) -> None:
        """The power is back."""
        self.powered = True
        self.reset(wire)

    def reset(self, wire: Wire) -> None:
        """Start anew: the loader where IO0 is low, else what the flash holds."""
        if not self.powered:
            return
        self._frame.clear()
        self._escaped = False
        self._registers.clear()
        self._inflate, self._expected = None, 0
        self.in_application = not self.boot0
        if self.boot0:
            wire.send(BANNER)
        else:
            self.starts += 1

    def pins(self, pins: Pins, wire: Wire) -> None:
        """RTS holds EN low, DTR holds IO0 low, and neither when both do, as on Espressif's boards."""
        was_low, now_low = self._pins.rts and not self._pins.dtr, pins.rts and not pins.dtr
        self._pins = pins
        if was_low and not now_low:
            self.boot0 = pins.dtr and not pins.rts
            self.reset(wire)

    def receive(self, content: bytes, settings: LineSettings | None, wire: Wire) -> None:
        """Bytes for the loader; an application hears them and says nothing."""
        del settings  # the loader follows the host's rate
        if self.in_application or not self.powered:
            return
        for value in content:
            if value == END:
                frame, self._frame = bytes(self._frame), bytearray()
                if frame:
                    self._serve(frame, wire)
            elif value == ESCAPE:
                self._escaped = True
            else:
                escapes = {ESCAPED_END: END, ESCAPED_ESCAPE: ESCAPE}
                self._frame.append(escapes.get(value, value) if self._escaped else value)
                self._escaped = False
                del self._frame[FRAME_BYTES_MAX:]

    def _serve(self, frame: bytes, wire: Wire) -> None:
        if len(frame) < 8 or frame[0] != 0:
            return
        _, number, length, checksum = struct.unpack_from("<BBHI", frame)
        data = frame[8:]
        if number == Command.SYNC:
            for _ in range(SYNC_ANSWERS):
                self._answer(wire, number, SYNC_VALUE, bytes(4))
            return
        try:
            value, content = self._do(number, data[:length], checksum)
            self._answer(wire, number, value, content + bytes(4))
        except RomFaultError as error:
            self._answer(wire, number, 0, bytes([1, error.fault, 0, 0]))
        except ChipPowerCutError:
            self.powered = False

    def _answer(self, wire: Wire, number: int, value: int, content: bytes) -> None:
        frame = struct.pack("<BBHI", 1, number, len(content), value) + content
        escaped = frame.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
        wire.send(b"\xc0" + escaped + b"\xc0")

    def _do(self, number: int, data: bytes, checksum: int) -> tuple[int, bytes]:
        quiet: dict[int, Callable[[bytes], None]] = {
            Command.FLASH_BEGIN: self._begin,
            Command.FLASH_END: lambda _: None,
            Command.DEFLATE_BEGIN: self._begin_deflated,
            Command.DEFLATE_END: lambda _: None,
            Command.SPI_ATTACH: lambda _: None,
            Command.SPI_SET_PARAMETERS: lambda _: None,
            Command.CHANGE_BAUD: lambda _: None,
            Command.WRITE_REGISTER: self._write_register,
        }
        if number in quiet:
            quiet[number](data)
            return 0, b""
        match number:
            case Command.READ_REGISTER:
                return self._read_register(data), b""
            case Command.FLASH_DATA | Command.DEFLATE_DATA:
                self._take(data, checksum, deflated=number == Command.DEFLATE_DATA)
                return 0, b""
            case Command.SPI_FLASH_MD5:
                start, length = struct.unpack_from("<II", data)
                self._check(start, length)
                digest = hashlib.md5(self.flash.read(start, length), usedforsecurity=False)
                return 0, digest.hexdigest().encode()
            case _:
                raise RomFaultError(Fault.INVALID)

    def _begin(self, data: bytes) -> None:
        size, _, _, start = struct.unpack_from("<IIII", data)
        self._check(start, size)
        self._place, self._expected, self._inflate = start, 0, None
        if self.writes_nothing or not size:
            return
        first, last = start // SECTOR_BYTES, (start + size - 1) // SECTOR_BYTES
        for sector in range(first, last + 1):
            self.flash.erase(sector)

    def _begin_deflated(self, data: bytes) -> None:
        self._begin(data)
        self._inflate = zlib.decompressobj()

    def _take(self, data: bytes, checksum: int, *, deflated: bool) -> None:
        length, number = struct.unpack_from("<II", data)
        content = data[16:]
        if length != len(content) or number != self._expected:
            raise RomFaultError(Fault.INVALID)
        check = CHECKSUM_SEED
        for value in content:
            check ^= value
        if check != checksum & 0xFF:
            raise RomFaultError(Fault.CHECKSUM)
        self._expected += 1
        if deflated:
            if self._inflate is None:
                raise RomFaultError(Fault.FAILED)
            content = self._inflate.decompress(content)
        self._check(self._place, len(content))
        for place in range(0, len(content), PROGRAM_BYTES):
            if not self.writes_nothing:
                self.flash.program(self._place + place, content[place : place + PROGRAM_BYTES])
        self._place += len(content)

    def _check(self, start: int, length: int) -> None:
        if not self.flash.holds(start, length):
            raise RomFaultError(Fault.FAILED)

    def _write_register(self, data: bytes) -> None:
        address, value = struct.unpack_from("<II", data)
        self._registers[address] = value
        if address == SPI_COMMAND:  # whatever is asked of the flash, it is done at once
            self._registers[SPI_COMMAND] = 0
            self._registers[SPI_W0] = FLASH_ID

    def _read_register(self, data: bytes) -> int:
        (address,) = struct.unpack_from("<I", data)
        return MAGIC if address == MAGIC_REGISTER else self._registers.get(address, 0)
