"""Makes a window from its entry: what travelled in its record, put on what the device has already. Pure."""

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, assert_never

from agent.decompress import decompress
from agent.payload import Kind, Range, Source, WindowEntry

STEP_BYTES: Final = 16 * 1024
"""Whole numbers of this size are added fast; longer ones no longer fit the processor's cache."""
LOW_BITS: Final = int.from_bytes(b"\x7f" * STEP_BYTES)
HIGH_BITS: Final = int.from_bytes(b"\x80" * STEP_BYTES)
NO_DIFFERENCE: Final = bytes(STEP_BYTES)

Fetch = Callable[[WindowEntry], bytes]
"""The record of an entry, checked against its SHA-256."""
Gather = Callable[[list[Range]], bytes]
"""The bytes that these references point at, one behind the other, as they are on the device now."""


def make_window(entry: WindowEntry, fetch: Fetch, gather: Gather) -> bytes | None:
    """The window, or None when what came out has not its SHA-256.

    That is the base's doing when there are references, since records are checked: it has drifted. The
    references are gathered first, so that nothing is fetched for a base that cannot be read. At most
    the window, its record and the gathered bytes are in memory. Raises what `fetch` and `gather` raise,
    and `PayloadError` for a record that is no zstd frame of this window.
    """
    if entry.kind is Kind.ZEROS:
        return zeros(entry)
    content = _made(entry, fetch, gather)
    return content if hashlib.sha256(content).digest() == entry.sha256 else None


def window_ranges(entry: WindowEntry, window_bytes: int) -> Iterator[list[Range]]:
    """What each window of a run gathers, one after the other."""
    wanted: list[Range] = []
    room_bytes = window_bytes
    for source, length, start in entry.ranges():
        left_bytes, offset = length, start
        while left_bytes:
            length_bytes = min(left_bytes, room_bytes)
            wanted.append((source, length_bytes, offset))
            offset += 0 if source == Source.ZEROS else length_bytes
            left_bytes -= length_bytes
            room_bytes -= length_bytes
            if not room_bytes:
                yield wanted
                wanted, room_bytes = [], window_bytes
    if wanted:
        yield wanted


def zeros(entry: WindowEntry) -> bytes | None:
    """The window of zeros, or None when that has not its SHA-256."""
    content, sha256 = _zeros(entry.length_bytes)
    return content if sha256 == entry.sha256 else None


@lru_cache(maxsize=2)
def _zeros(length_bytes: int) -> tuple[bytes, bytes]:
    """Most windows of zeros have one length, and images have thousands of them."""
    content = bytes(length_bytes)
    return content, hashlib.sha256(content).digest()


def _made(entry: WindowEntry, fetch: Fetch, gather: Gather) -> bytes:
    length = entry.length_bytes
    match entry.kind:
        case Kind.ZEROS:
            return bytes(length)
        case Kind.PLAIN:
            return fetch(entry)
        case Kind.ZSTD:
            return decompress(fetch(entry), length)
        case Kind.COPY:
            return gather(entry.ranges())
        case Kind.PREFIXED:
            prefix = gather(entry.ranges())
            return decompress(fetch(entry), length, prefix)
        case Kind.DIFFERENCE:
            known = gather(entry.ranges())
            return add_bytes(known[:length], decompress(fetch(entry), length, known[length:]))
        case _:
            assert_never(entry.kind)


def add_bytes(base: bytes, difference: bytes) -> bytes:
    """Byte by byte the sum modulo 256 of two strings of one length.

    The bytes are added as one whole number, without their top bits so that none carries into the next;
    the sum of two top bits is their exclusive or.
    """
    steps = []
    for start in range(0, len(base), STEP_BYTES):
        known, added = base[start : start + STEP_BYTES], difference[start : start + STEP_BYTES]
        if added == NO_DIFFERENCE[: len(added)]:
            steps.append(known)
            continue
        one, other = int.from_bytes(known), int.from_bytes(added)
        total = (one & LOW_BITS) + (other & LOW_BITS) ^ (one ^ other) & HIGH_BITS
        steps.append(total.to_bytes(len(known)))
    return b"".join(steps)
