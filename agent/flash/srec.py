"""Motorola S-records: S1, S2 and S3 carry data at 16, 24 and 32 bits of address. Pure.

Each line is `Sn`, a count, the address, the data, and a byte that makes the sum of all after `Sn` 0xFF.
S0 is a title, S5 and S6 count the data records, S7 to S9 end the file. Source: Motorola M68000 Family
Programmer's Reference Manual, appendix C.
"""

from typing import Final, NoReturn

from agent.errors import FlashImageError
from agent.flash import ChipImage, Region
from agent.flash.image_file import check_length, join_regions

ADDRESS_BYTES: Final = {0: 2, 1: 2, 2: 3, 3: 4, 5: 2, 6: 3, 7: 4, 8: 3, 9: 2}
SUM: Final = 0xFF


def parse_srec(content: bytes) -> ChipImage:
    """The regions in a file. Raises `FlashImageError` with the line that is wrong."""
    check_length(content)
    pieces: list[Region] = []
    ended = False
    records = 0
    for number, line in enumerate(content.splitlines(), start=1):
        if ended and line:
            _refuse(number, "nothing was expected behind the end record")
        if ended:
            continue
        kind, address, data = _record(line, number)
        match kind:
            case 1 | 2 | 3:
                records += 1
                pieces.append(Region(address, data))
            case 5 | 6:
                if address != records:
                    _refuse(number, f"a count of {records} records was expected, {address} found")
            case 7 | 8 | 9:
                ended = True
            case _:
                pass  # a title
    if not ended:
        raise FlashImageError("S-records: an end record was expected, the file is cut off")
    return join_regions(pieces)


def _record(line: bytes, number: int) -> tuple[int, int, bytes]:
    kind = line[1] - ord("0") if len(line) > 1 and line.startswith(b"S") else -1
    if kind not in ADDRESS_BYTES:
        _refuse(number, "a line that begins with S and one of 0 1 2 3 5 6 7 8 9 was expected")
    digits = line[2:]
    try:
        record = bytes.fromhex(digits.decode("ascii")) if digits.isalnum() else b""
    except ValueError:
        record = b""
    width = ADDRESS_BYTES[kind]
    if len(record) < width + 2 or len(record) != record[0] + 1:
        _refuse(number, "as many hexadecimal digits as the record says were expected")
    if sum(record) % 256 != SUM:
        _refuse(number, "a sum of 0xFF was expected, the line is damaged")
    return kind, int.from_bytes(record[1 : 1 + width], "big"), record[1 + width : -1]


def _refuse(number: int, sentence: str) -> NoReturn:
    raise FlashImageError(f"S-records, line {number}: {sentence}; make the image again")
