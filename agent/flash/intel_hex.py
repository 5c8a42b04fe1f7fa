"""Intel HEX, the text format of most compilers for small chips. Pure.

Each line is `:LLAAAATT` and the data in hexadecimal digits, and a byte that makes the sum of all 0.
Types: 00 data, 01 end, 02 and 04 upper address bits, 03 and 05 where to start, which flash does not
need. Source: Intel, "Hexadecimal Object File Format Specification", revision A, 1988.
"""

from typing import Final, NoReturn

from agent.errors import FlashImageError
from agent.flash import ChipImage, Region
from agent.flash.image_file import check_length, join_regions

HEADER_BYTES: Final = 4
SHORTEST_BYTES: Final = 5
DATA, END, SEGMENT, SEGMENT_START, LINEAR, LINEAR_START = range(6)
LENGTHS: Final = {END: 0, SEGMENT: 2, SEGMENT_START: 4, LINEAR: 2, LINEAR_START: 4}
SEGMENT_BYTES: Final = 1 << 16


def parse_intel_hex(content: bytes) -> ChipImage:
    """The regions in a file. Raises `FlashImageError` with the line that is wrong."""
    check_length(content)
    pieces: list[Region] = []
    base = 0
    ended = False
    for number, line in enumerate(content.splitlines(), start=1):
        if ended and line:
            _refuse(number, "nothing was expected behind the end record")
        if ended:
            continue
        kind, address, data = _record(line, number)
        match kind:
            case 0:
                if address + len(data) > SEGMENT_BYTES:
                    _refuse(number, "a record inside 64 KiB was expected, one that leaves it found")
                pieces.append(Region(base + address, data))
            case 1:
                ended = True
            case 2:
                base = int.from_bytes(data, "big") << 4
            case 4:
                base = int.from_bytes(data, "big") << 16
            case _:
                pass  # where to start: the chip knows
    if not ended:
        raise FlashImageError("Intel HEX: an end record was expected, the file is cut off")
    return join_regions(pieces)


def _record(line: bytes, number: int) -> tuple[int, int, bytes]:
    if not line.startswith(b":"):
        _refuse(number, "a line that begins with : was expected")
    digits = line[1:]
    if not digits.isalnum():
        _refuse(number, "hexadecimal digits were expected")
    try:
        record = bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        _refuse(number, "hexadecimal digits were expected")
    if len(record) < SHORTEST_BYTES or len(record) != SHORTEST_BYTES + record[0]:
        _refuse(number, "as many bytes as the record says were expected")
    if sum(record) % 256:
        _refuse(number, "a sum of 0 was expected, the line is damaged")
    kind = record[3]
    data = record[HEADER_BYTES:-1]
    if kind != DATA and LENGTHS.get(kind) != len(data):
        _refuse(number, f"a record of type 0 to 5 in its length was expected, type {kind} found")
    return kind, int.from_bytes(record[1:3], "big"), data


def _refuse(number: int, sentence: str) -> NoReturn:
    raise FlashImageError(f"Intel HEX, line {number}: {sentence}; make the image again")
