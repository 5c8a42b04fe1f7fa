"""CBOR as SMP speaks it (RFC 8949), strict and bounded: what no server has reason to send is refused.

Known are integers, byte and text strings, lists, maps with text keys, booleans and null. Refused are
floats, tags, duplicate keys, nesting, lengths that reach past the end, and bytes after the value.
Lists, maps and strings of indefinite length are read, since Zephyr answers in them. Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from agent.errors import FlashLineError

DEPTH_MAX: Final = 8
LENGTH_MAX_BYTES: Final = 65_535
"""No SMP message is longer: its header counts in 16 bits."""

Value = int | bytes | str | bool | None | list["Value"] | dict[str, "Value"]

UNSIGNED, NEGATIVE, BYTES, TEXT, LIST, MAP, TAG, SIMPLE = range(8)
INDEFINITE: Final = 31
BREAK: Final = 0xFF
CONSTANTS: Final[Mapping[int, bool | None]] = {20: False, 21: True, 22: None}


def encode(value: object) -> bytes:
    """The shortest encoding of a value, with definite lengths and keys in the order given."""
    match value:
        case bool() | None:
            simple = next(key for key, known in CONSTANTS.items() if known is value)
            return _head(SIMPLE, simple)
        case int():
            return _head(UNSIGNED, value) if value >= 0 else _head(NEGATIVE, -1 - value)
        case bytes():
            return _head(BYTES, len(value)) + value
        case str():
            text = value.encode()
            return _head(TEXT, len(text)) + text
        case Mapping():
            rows = b"".join(encode(key) + encode(row) for key, row in value.items())
            return _head(MAP, len(value)) + rows
        case Sequence():
            return _head(LIST, len(value)) + b"".join(encode(row) for row in value)
        case _:
            raise TypeError(f"CBOR has no place here for {type(value).__name__}")


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes((major << 5 | argument,))
    for extra, size_bytes in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << (8 * size_bytes):
            return bytes((major << 5 | extra,)) + argument.to_bytes(size_bytes, "big")
    raise ValueError(f"an integer of at most 64 bits was expected, {argument} found")


def decode(content: bytes) -> Value:
    """The one value that these bytes are. Raises `FlashLineError`."""
    if len(content) > LENGTH_MAX_BYTES:
        _refuse(f"at most {LENGTH_MAX_BYTES} bytes were expected, {len(content)} found")
    reader = _Reader(content)
    value = reader.value(DEPTH_MAX)
    if reader.position != len(content):
        _refuse(f"{len(content) - reader.position} bytes follow the value")
    return value


def _refuse(found: str) -> NoReturn:
    raise FlashLineError(f"an answer in the CBOR of SMP was expected: {found}")


class _Reader:
    """A position in the bytes; each step forward is checked against their end."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.position = 0

    def value(self, depth: int) -> Value:
        """The next value, with at most this many levels below it."""
        if depth < 0:
            _refuse(f"it is nested more than {DEPTH_MAX} deep")
        major, argument = self._next_head()
        match major:
            case 0:
                return self._definite(argument)
            case 1:
                return -1 - self._definite(argument)
            case 2:
                return self._string(BYTES, argument)
            case 3:
                return self._text(argument)
            case 4:
                return self._list(argument, depth)
            case 5:
                return self._map(argument, depth)
            case 7 if argument is not None and argument in CONSTANTS:
                return CONSTANTS[argument]
            case _:
                _refuse(f"type {major} with {argument} has no meaning there")

    def _take(self, length_bytes: int) -> bytes:
        end = self.position + length_bytes
        if end > len(self._content):
            _refuse(f"{length_bytes} more bytes were announced than there are")
        part = self._content[self.position : end]
        self.position = end
        return part

    def _next_head(self) -> tuple[int, int | None]:
        """Major type and argument; None stands for an indefinite length, or a break."""
        first = self._take(1)[0]
        major, extra = first >> 5, first & 0x1F
        if extra < 24:
            return major, extra
        if extra == INDEFINITE:
            return major, None
        if extra > 27 or major == SIMPLE:
            _refuse(f"the byte 0x{first:02x} starts nothing that is known")
        return major, int.from_bytes(self._take(1 << (extra - 24)), "big")

    def _definite(self, argument: int | None) -> int:
        if argument is None:
            _refuse("a number of indefinite length")
        return argument

    def _string(self, major: int, argument: int | None) -> bytes:
        if argument is not None:
            return self._take(argument)
        parts: list[bytes] = []
        while not self._at_break():
            part_major, length_bytes = self._next_head()
            if part_major != major or length_bytes is None:
                _refuse("a string in parts holds a part of another kind")
            parts.append(self._take(length_bytes))
        return b"".join(parts)

    def _text(self, argument: int | None) -> str:
        try:
            return self._string(TEXT, argument).decode()
        except UnicodeDecodeError:
            _refuse("a text that is not UTF-8")

    def _list(self, argument: int | None, depth: int) -> list[Value]:
        rows: list[Value] = []
        while self._more(argument, len(rows)):
            rows.append(self.value(depth - 1))
        return rows

    def _map(self, argument: int | None, depth: int) -> dict[str, Value]:
        rows: dict[str, Value] = {}
        while self._more(argument, len(rows)):
            key = self.value(0)
            if not isinstance(key, str) or key in rows:
                _refuse("a map's key that is no text, or stands there twice")
            rows[key] = self.value(depth - 1)
        return rows

    def _more(self, argument: int | None, count: int) -> bool:
        return not self._at_break() if argument is None else count < argument

    def _at_break(self) -> bool:
        if self.position >= len(self._content):
            _refuse("it ends before its last list, map or string does")
        if self._content[self.position] != BREAK:
            return False
        self.position += 1
        return True
