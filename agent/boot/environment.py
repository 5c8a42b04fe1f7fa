"""U-Boot's redundant environment as bytes. Pure.

    copy = crc32 of data, little-endian (4) | flags (1) | data
    data = name=value NUL, sorted by name ... | NUL | anything

Of two valid copies the one with the higher flags counts, except that 0 comes after 255. Source: U-Boot
`env/common.c` (`env_check_redund`) and `lib/hashtable.c` (`hexport_r`, which sorts by name).
"""

import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Final, NoReturn

from agent.boot.medium import SECTOR_BYTES
from agent.errors import BootControlError

HEADER: Final = struct.Struct("<IB")

Variables = Mapping[bytes, bytes]


def is_valid(copy: bytes) -> bool:
    """Whether the checksum is that of the data."""
    if len(copy) <= HEADER.size:
        return False
    checksum, _ = HEADER.unpack_from(copy)
    return bool(checksum == zlib.crc32(copy[HEADER.size :]))


def choose(first: bytes, second: bytes) -> int | None:
    """Which copy counts, 0 or 1, by U-Boot's rules; None when neither is valid."""
    match is_valid(first), is_valid(second):
        case False, False:
            return None
        case True, False:
            return 0
        case False, True:
            return 1
        case _:
            flags = flags_of(first), flags_of(second)
            if flags in {(255, 0), (0, 255)}:
                return flags.index(0)
            return 1 if flags[1] > flags[0] else 0


def flags_of(copy: bytes) -> int:
    """The copy's serial number, 0 to 255."""
    _, flags = HEADER.unpack_from(copy)
    return int(flags)


def decode(copy: bytes) -> dict[bytes, bytes]:
    """The variables of a valid copy, byte for byte as they are stored. Raises `BootControlError`."""
    data = copy[HEADER.size :]
    variables: dict[bytes, bytes] = {}
    start = 0
    for _ in range(len(data)):
        end = data.find(b"\0", start)
        if end < 0:
            _refuse("an empty entry at the end", "data that never ends")
        if end == start:
            break
        name, equals, value = data[start:end].partition(b"=")
        if not equals or not name or name[:1] in b" \t#" or name in variables:
            _refuse("name=value, each name once", repr(data[start:end][:80]))
        variables[name] = value
        start = end + 1
    return variables


def encode(variables: Variables, *, flags: int, size_bytes: int) -> bytes:
    """One whole copy of this size with these variables. Raises `BootControlError`.

    Sorted by name as U-Boot and its tools write them: where nothing else changes, the sectors behind
    the first stay the same when U-Boot writes the copy next, and only one sector can be lost.
    """
    data = b"".join(name + b"=" + value + b"\0" for name, value in sorted(variables.items()))
    room = size_bytes - HEADER.size
    if len(data) + 1 > room:
        _refuse(f"variables of at most {room - 1} bytes", str(len(data)))
    data = data.ljust(room, b"\0")
    return HEADER.pack(zlib.crc32(data), flags) + data


def check_first_sector(variables: Variables, changing: Iterable[bytes]) -> None:
    """Refuse when a variable that the bootloader changes ends behind a copy's first 512 bytes.

    U-Boot never flushes. When boots fail in a row, writes to both copies may be lost in part, and each
    copy is only sure to be old or new when nothing but its first sector changes.
    """
    late = set(changing)
    end = HEADER.size
    for name, value in sorted(variables.items()):
        end += len(name) + len(value) + 2
        if end > SECTOR_BYTES:
            break
        late.discard(name)
    if late:
        _refuse(
            "all that U-Boot changes, sorted by name, within the first 512 bytes",
            f"{', '.join(name.decode('latin-1') for name in sorted(late))} behind them",
        )


def _refuse(expected: str, found: str) -> NoReturn:
    raise BootControlError(
        f"U-Boot environment: {expected} was expected, {found} found; "
        "shorten or repair it with fw_setenv (docs/boards.md)"
    )
