"""Motorola S-records: S1, S2 and S3 carry data at 16, 24 and 32 bits of address. Pure.

Each line is `Sn`, a count, the address, the data, and a byte that makes the sum of all after `Sn` 0xFF.
S0 is a title, S5 and S6 count the data records, S7 to S9 end the file. The sum leaves out `Sn`, so a file
must be consistent in it: one width for all and the end record for that width, or, as some tools write, the
shortest width for each address. Source: Motorola M68000 Family Programmer's Reference Manual, appendix C.
"""

from typing import Final, NoReturn

from agent.errors import FlashImageError
from agent.flash import ChipImage, Region
from agent.flash.image_file import check_length, join_regions

ADDRESS_BYTES: Final = {0: 2, 1: 2, 2: 3, 3: 4, 5: 2, 6: 3, 7: 4, 8: 3, 9: 2}
SUM: Final = 0xFF
ENDS: Final = {1: 9, 2: 8, 3: 7}
"""The end record that goes with each data record."""
ADDRESS_ENDS: Final = {1: 1 << 16, 2: 1 << 24, 3: 1 << 32}


def parse_srec(content: bytes) -> ChipImage:
    """The regions in a file. Raises `FlashImageError` with the line that is wrong."""
    check_length(content)
    pieces: list[Region] = []
    kinds: dict[int, int] = {}
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
                kinds[kind] = min(address, kinds.get(kind, address))
                pieces.append(Region(address, data))
            case 5 | 6:
                if address != records:
                    _refuse(number, f"a count of {records} records was expected, {address} found")
            case 7 | 8 | 9:
                _check_kinds(kinds, kind, number)
                ended = True
            case _ if number > 1:
                _refuse(number, "a title was expected in the first line only")
            case _:
                pass
    if not ended:
        raise FlashImageError("S-records: an end record was expected, the file is cut off")
    return join_regions(pieces)


def _check_kinds(lowest: dict[int, int], end: int, number: int) -> None:
    """`lowest` are the lowest addresses by kind of data record."""
    if len(lowest) == 1:
        (kind,) = lowest
        if ENDS[kind] != end:
            _refuse(number, f"S{ENDS[kind]} was expected behind records of S{kind}, S{end} found")
        return
    for kind, address in lowest.items():
        if kind > 1 and address < ADDRESS_ENDS[kind - 1]:
            _refuse(number, f"records of one kind were expected, S{kind} among others found")


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
