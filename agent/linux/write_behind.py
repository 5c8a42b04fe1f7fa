"""Writes and flushes a device while the next bytes are fetched and decoded: one thread, one bounded queue.

Only the order of flushes is promised, as by the device below: what was queued before a flush was begun is on
the medium when that flush is complete. Behind each flush the thread reads from the medium what it has made
durable, so that whoever compares it need not wait. A cut loses what is queued, and what no flush completed.
"""

import mmap
import os
from collections import deque
from collections.abc import Callable
from threading import Condition, Thread
from typing import Final

from agent.linux.direct import DirectFile

QUEUED_BYTES_MAX: Final = 2 * 1024 * 1024
"""With so much waiting, whoever writes waits too; one write more may be there."""
READ_AHEAD_BYTES: Final = 3 * 1024 * 1024
"""So much of what one flush completed is read ahead; twice, since two flushes may be under way."""

Place = tuple[int, int]
"""Offset and length."""


class WriteBehind:
    """The thread of one device that is written. Raises `OSError`, of the thread too, at the next call.

    `cached` writes what cannot go past the kernel's cache; `descriptor` is what is flushed.
    """

    def __init__(self, path: str, descriptor: int, cached: Callable[[int, bytes], None]) -> None:
        self._direct = DirectFile(path, os.O_RDWR)
        self._descriptor = descriptor
        self._cached = cached
        self._changed = Condition()
        self._queue: deque[tuple[int, bytes] | None] = deque()
        self._queued_bytes = 0
        self._begun = 0
        self._completed = 0
        self._ending = False
        self._error: OSError | None = None
        self._written: list[Place] = []
        self._found: dict[Place, memoryview] = {}
        self._memory = [memoryview(b""), memoryview(b"")]
        self._thread = Thread(target=self._work, name="write-behind", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def write(self, offset: int, content: bytes) -> None:
        """Queue a write; waits while too much is queued."""
        with self._changed:
            self._wait(lambda: self._queued_bytes < QUEUED_BYTES_MAX)
            self._queue.append((offset, content))
            self._queued_bytes += len(content)
            self._changed.notify_all()

    def flush(self) -> None:
        """Begin a flush when the one before is complete."""
        with self._changed:
            self._wait(lambda: self._completed == self._begun)
            self._queue.append(None)
            self._begun += 1
            self._changed.notify_all()

    def found(self, offset: int, length_bytes: int) -> memoryview | None:
        """What was read from the medium behind the last flush that is complete; None when it was not."""
        with self._changed:
            return self._found.get((offset, length_bytes))

    def wait_for(self, offset: int, length_bytes: int) -> None:
        """Return when nothing is queued for these bytes."""
        with self._changed:
            self._wait(lambda: not self._is_queued(offset, offset + length_bytes))

    def end(self) -> None:
        """Write all that is queued, and stop. The device is not flushed."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join()
        self._direct.close()
        if self._error is not None:
            raise self._error

    def _wait(self, ready: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self._error is not None or ready())
        if self._error is not None:
            raise self._error

    def _is_queued(self, start: int, end: int) -> bool:
        return any(
            one is not None and one[0] < end and start < one[0] + len(one[1]) for one in self._queue
        )

    def _work(self) -> None:
        while self._error is None:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._ending)
                if not self._queue:
                    return
                one = self._queue[0]
            try:
                found = self._do(one)
            except OSError as error:
                self._fail(error)
                return
            with self._changed:  # what is under way stays in the queue, so that readers wait for it
                self._queue.popleft()
                if found is not None:
                    self._completed += 1
                    self._found = found
                if one is not None:
                    self._queued_bytes -= len(one[1])
                self._changed.notify_all()

    def _fail(self, error: OSError) -> None:
        with self._changed:
            self._error = error
            self._queue.clear()
            self._changed.notify_all()

    def _do(self, one: tuple[int, bytes] | None) -> dict[Place, memoryview] | None:
        if one is None:
            return self._flush_now()
        self._write_now(*one)
        return None

    def _write_now(self, offset: int, content: bytes) -> None:
        if not self._direct.write(offset, content):
            self._cached(offset, content)
        self._written.append((offset, len(content)))

    def _flush_now(self) -> dict[Place, memoryview]:
        os.fsync(self._descriptor)
        memory = self._memory_of(self._completed)
        found: dict[Place, memoryview] = {}
        used = 0
        for offset, length_bytes in self._written:
            room = memory[used : used + length_bytes]
            view = self._direct.read_into(room, offset) if len(room) == length_bytes else None
            if view is not None:
                found[offset, length_bytes] = view
                used += -(-length_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._written = []
        return found

    def _memory_of(self, number: int) -> memoryview:
        """Of two that are used in turn: what the flush before has read is still being compared."""
        if not self._memory[number % 2]:
            self._memory[number % 2] = memoryview(mmap.mmap(-1, READ_AHEAD_BYTES))
        return self._memory[number % 2]
