"""SMP's lines and CBOR as a chip sees them, written apart from the driver's on purpose.

Sources: Zephyr's "SMP Transport Specification" (console), RFC 8949. As with zcbor in Zephyr, maps and
lists in answers have no length in front.
"""

import base64
import struct
from dataclasses import dataclass
from typing import Final

POLYNOMIAL: Final = 0x1021
FIRST_MARK: Final = b"\x06\x09"
LINE_BYTES: Final = 93
"""Of a packet in one line: 124 characters of base64, between two bytes of mark and a newline."""


class BadRequestError(Exception):
    """A request that the server's decoder does not understand."""


@dataclass(frozen=True, slots=True)
class Request:
    """One SMP request, taken apart."""

    operation: int
    group: int
    sequence: int
    command: int
    body: dict[object, object]


def crc16(content: bytes) -> int:
    """CRC-16/XMODEM, bit by bit."""
    register = 0
    for value in content:
        register ^= value << 8
        for _ in range(8):
            carry = register & 0x8000
            register = (register << 1) & 0xFFFF
            if carry:
                register ^= POLYNOMIAL
    return register


def answer_lines(request: Request, body: dict[str, object]) -> list[bytes]:
    """The lines that answer a request."""
    content = to_cbor(body)
    message = struct.pack(
        ">BBHHBB",
        request.operation + 1,
        0,
        len(content),
        request.group,
        request.sequence,
        request.command,
    )
    message += content
    packet = struct.pack(">H", len(message) + 2) + message + struct.pack(">H", crc16(message))
    marks = [FIRST_MARK] + [b"\x04\x14"] * (len(packet) // LINE_BYTES)
    parts = [packet[at : at + LINE_BYTES] for at in range(0, len(packet), LINE_BYTES)]
    return [mark + base64.b64encode(part) + b"\n" for mark, part in zip(marks, parts, strict=False)]


class LineBuffer:
    """Collects the lines of one request; what is longer than the buffer is dropped without a word."""

    def __init__(self, buffer_bytes: int) -> None:
        self._buffer_bytes = buffer_bytes
        self._line = b""
        self._packet: bytes | None = None

    def feed(self, content: bytes) -> list[Request]:
        """The requests that these bytes complete."""
        found = [self.take(line) for line in self.lines(content)]
        return [request for request in found if request is not None]

    def lines(self, content: bytes) -> list[bytes]:
        """The lines that these bytes complete."""
        *lines, self._line = (self._line + content).split(b"\n")
        self._line = self._line[-256:]
        return lines

    def take(self, line: bytes) -> Request | None:
        """The request that this line completes."""
        mark, text = line[:2], line[2:]
        if len(line) + 1 > 127 or mark not in {FIRST_MARK, b"\x04\x14"}:
            return None
        try:
            part = base64.b64decode(text, validate=True)
        except ValueError:
            self._packet = None
            return None
        if mark == FIRST_MARK:
            self._packet = part
        elif self._packet is not None:
            self._packet += part
        if self._packet is None or len(self._packet) > self._buffer_bytes:
            self._packet = None
            return None
        return self._whole(self._packet)

    def _whole(self, packet: bytes) -> Request | None:
        if len(packet) < 2 or len(packet) < 2 + struct.unpack_from(">H", packet)[0]:
            return None
        self._packet = None
        message = packet[2:-2]
        if crc16(message) != struct.unpack(">H", packet[-2:])[0] or len(message) < 8:
            return None
        first, _, _, group, sequence, command = struct.unpack_from(">BBHHBB", message)
        try:
            body, end = from_cbor(message, 8)
        except (BadRequestError, IndexError, struct.error):
            return None
        if end != len(message) or not isinstance(body, dict):
            return None
        return Request(first & 7, group, sequence, command, body)


def to_cbor(value: object) -> bytes:
    """CBOR with maps and lists that end with a break."""
    if value is True or value is False or value is None:
        return {False: b"\xf4", True: b"\xf5", None: b"\xf6"}[value]
    if isinstance(value, int):
        return _cbor_head(0, value) if value >= 0 else _cbor_head(1, -value - 1)
    if isinstance(value, bytes):
        return _cbor_head(2, len(value)) + value
    if isinstance(value, str):
        return _cbor_head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return b"\x9f" + b"".join(map(to_cbor, value)) + b"\xff"
    assert isinstance(value, dict), "nothing else is ever answered"
    rows = b"".join(to_cbor(key) + to_cbor(row) for key, row in value.items())
    return b"\xbf" + rows + b"\xff"


def _cbor_head(major: int, number: int) -> bytes:
    if number <= 23:
        return struct.pack(">B", major * 32 + number)
    if number <= 0xFF:
        return struct.pack(">BB", major * 32 + 24, number)
    if number <= 0xFFFF:
        return struct.pack(">BH", major * 32 + 25, number)
    return struct.pack(">BI", major * 32 + 26, number)


def from_cbor(content: bytes, at: int) -> tuple[object, int]:
    """The value at a place, and the place behind it; strings, numbers, maps and constants."""
    constants: dict[int, object] = {0xF4: False, 0xF5: True, 0xF6: None}
    first = content[at]
    if first in constants:
        return constants[first], at + 1
    major, short = divmod(first, 32)
    at += 1
    number = short
    if short in {24, 25, 26, 27}:
        size = 1 << (short - 24)
        number, at = int.from_bytes(content[at : at + size], "big"), at + size
    elif short > 27 and not (short == 31 and major == 5):
        raise BadRequestError
    if major == 0:
        return number, at
    if major in {2, 3} and at + number <= len(content):
        part = content[at : at + number]
        return (part if major == 2 else part.decode(errors="replace")), at + number
    if major == 5:
        return _cbor_map(content, at, None if short == 31 else number)
    raise BadRequestError


def _cbor_map(content: bytes, at: int, count: int | None) -> tuple[dict[object, object], int]:
    rows: dict[object, object] = {}
    left = len(content) if count is None else count
    while left > 0 and not (count is None and content[at] == 0xFF):
        key, at = from_cbor(content, at)
        rows[key], at = from_cbor(content, at)
        left -= 1
    return rows, at + (count is None)
