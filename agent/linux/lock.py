"""One process at a time: a lock on the state folder that the kernel lets go when its holder ends."""

import fcntl
import os
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from agent.errors import BusyError, StateError
from agent.linux.folders import make_private

PID_BYTES_MAX: Final = 20


class StateLock:
    """The right to write the state folder, as a context. Raises `BusyError` and `StateError`."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = f"{folder}/lock"
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock now or not at all, and leave this process's number in it for others."""
        assert self._descriptor is None, "the lock is already ours"
        try:
            make_private(self._folder)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o600)
            try:
                self._take(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise StateError(
                f"cannot lock {self._path}: {error.strerror}; lockgate must own the folder it is in"
            ) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the lock go; the file stays, because removing it would let two hold it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, PID_BYTES_MAX, 0).decode(errors="replace").strip()
            raise BusyError(
                f"{self._folder} is in use by process {holder or 'unknown'}; "
                f"wait until it has finished, or stop the lockgate service first"
            ) from None
        with suppress(OSError):  # a full disk takes no number; the lock is ours without it
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
