"""Writes and flushes a device while the next bytes are fetched and decoded, in a thread.

What is written between two flushes goes to the thread as a whole when its flush is begun; one such group is
under way, the next one collected. Behind its flush the thread reads from the medium what it has made durable,
so that whoever compares it need not wait. A cut loses what is collected, and any part of the group under way.
"""

import mmap
import os
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import Final

from agent.linux.direct import STEP_BYTES, DirectFile

READ_BACK_BYTES: Final = 3 * 1024 * 1024
"""So much of a group is read back by the thread; what it has beyond that its owner reads by himself."""

ZEROS: Final = bytes(STEP_BYTES)

Piece = tuple[int, bytes]
"""An offset, and what is to be there."""
Found = dict[tuple[int, int], memoryview]
"""By offset and length, what was read from the medium."""


class WriteBehind:
    """The thread of one device. Raises `OSError`, what stopped the thread too.

    `cached` writes what cannot go past the kernel's cache; `descriptor` is what is flushed.
    """

    def __init__(self, path: str, descriptor: int, cached: Callable[[int, bytes], None]) -> None:
        self._direct = DirectFile(path, os.O_RDWR)
        self._descriptor = descriptor
        self._cached = cached
        self._collected: list[Piece] = []
        self._under_way: list[Piece] = []
        self._found: Found = {}
        self._groups: SimpleQueue[list[Piece] | None] = SimpleQueue()
        self._results: SimpleQueue[Found | OSError] = SimpleQueue()
        self._memory: memoryview | None = None
        self._spare: memoryview | None = None
        self._thread = Thread(target=self._work, name="write-behind", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def write(self, offset: int, content: bytes) -> None:
        """Collect a write."""
        self._collected.append((offset, content))

    def flush(self) -> None:
        """Begin to write and to flush what was collected, when the group before is through."""
        self._await()
        if self._collected:
            self._under_way, self._collected = self._collected, []
            self._groups.put(self._under_way)

    def awaits(self, offset: int, length_bytes: int) -> bool:
        """Whether any of these bytes is not on the medium yet."""
        end = offset + length_bytes
        for group in (self._under_way, self._collected):
            for start, content in group:
                if start < end and offset < start + len(content):
                    return True
        return False

    def newest(self, offset: int, length_bytes: int, read: Callable[[int, int], bytes]) -> bytes:
        """These bytes, with what is not on the medium yet; all else is `read`."""
        if not self.awaits(offset, length_bytes):
            return read(offset, length_bytes)
        end = offset + length_bytes
        content: bytes | bytearray | None = None
        for start, written in (*self._under_way, *self._collected):
            low, high = max(offset, start), min(end, start + len(written))
            if low < high:
                if high - low == length_bytes:
                    content = written[low - start : high - start]
                    continue
                content = bytearray(read(offset, length_bytes) if content is None else content)
                content[low - offset : high - offset] = written[low - start : high - start]
        return read(offset, length_bytes) if content is None else bytes(content)

    def found(self, offset: int, length_bytes: int) -> memoryview | None:
        """What was read behind the last flush that is complete; None when it was not."""
        return self._found.get((offset, length_bytes))

    def end(self) -> None:
        """Write all that was collected, and stop. That is not flushed."""
        self._groups.put(None)
        try:
            self._await()
            for offset, content in self._collected:
                self._write([content], offset)
        finally:
            self._thread.join()
            self._direct.close()

    def _await(self) -> None:
        if not self._under_way:
            return
        result = self._results.get()
        self._under_way = []
        if isinstance(result, OSError):
            raise result
        self._found = result

    def _work(self) -> None:
        while (group := self._groups.get()) is not None:
            try:
                self._results.put(self._performed(group))
            except OSError as error:
                self._results.put(error)

    def _performed(self, group: list[Piece]) -> Found:
        runs = list(_runs(group))
        for offset, contents in runs:
            self._write(contents, offset)
        os.fsync(self._descriptor)
        return self._read_back(runs)

    def _write(self, contents: list[bytes], offset: int) -> None:
        if all(map(_is_zeros, contents)):
            length_bytes = sum(map(len, contents))
            if self._direct.write_zeros(offset, length_bytes):
                return
        if not self._direct.write(offset, contents):
            for content in contents:
                self._cached(offset, content)
                offset += len(content)

    def _read_back(self, runs: "list[tuple[int, list[bytes]]]") -> Found:
        """Two memories are used in turn: what was found before is still being compared."""
        memory = self._spare or memoryview(mmap.mmap(-1, READ_BACK_BYTES))
        self._memory, self._spare = memory, self._memory
        found: Found = {}
        used = 0
        for offset, contents in runs:
            length_bytes = sum(map(len, contents))
            room = memory[used : used + length_bytes]
            view = self._direct.read_into(room, offset) if len(room) == length_bytes else None
            if view is None:
                continue
            used += -(-length_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
            at = 0
            for content in contents:
                found[offset + at, len(content)] = view[at : at + len(content)]
                at += len(content)
        return found


def _is_zeros(content: bytes) -> bool:
    return ZEROS.startswith(content)


def _runs(group: list[Piece]) -> Iterator[tuple[int, list[bytes]]]:
    """Pieces that follow each other, joined up to what is moved at once; zeros are apart from all others."""
    start, contents, length_bytes = 0, list[bytes](), 0
    for offset, content in group:
        if contents and (
            offset != start + length_bytes
            or length_bytes + len(content) > STEP_BYTES
            or _is_zeros(content) is not _is_zeros(contents[0])
        ):
            yield start, contents
            contents, length_bytes = [], 0
        if not contents:
            start = offset
        contents.append(content)
        length_bytes += len(content)
    if contents:
        yield start, contents
