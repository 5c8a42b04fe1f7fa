"""Writes the operator's files whole or not at all, and lets one process at a time change the workspace."""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from agent.errors import BusyError, StateError

LOCK_FILE: Final = ".lock"
ASIDE: Final = ".aside-"
LOCK_WAIT_S: Final = 30
LOCK_POLL_S: Final = 0.1


def replace(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Store content under path; durable on return. Raises `StateError`.

    A cut leaves the old content or the new one, and perhaps a `.part` file that nothing reads.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _part(path) as part:
            part.write_bytes(content)
            part.chmod(mode)
            sync(part)
            part.replace(path)
        sync(path.parent)
    except OSError as error:
        raise StateError(f"{path}: cannot be written: {error.strerror}{advice(error)}") from error


def link_or_copy(source: Path, path: Path) -> None:
    """Make path hold what source holds, without a copy where the file system can share it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _part(path) as part:
            part.unlink()
            try:
                os.link(source, part)
            except OSError:  # another file system, or one without links
                shutil.copyfile(source, part)
            part.chmod(0o644)
            sync(part)
            part.replace(path)
        sync(path.parent)
    except OSError as error:
        raise StateError(
            f"{path}: cannot be copied from {source}: {error.strerror}{advice(error)}"
        ) from error


def advice(error: OSError) -> str:
    """What to do next, where the operator can do it."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "; free some space there and give the same command again" if full else ""


def sync(path: Path) -> None:
    """Return when the file or folder is on the medium."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _part(path: Path) -> Iterator[Path]:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", suffix=".part", dir=path.parent)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


@contextmanager
def aside(root: Path, folder: Path) -> Iterator[Path]:
    """A folder inside this one for what is not to stay.

    A process that was killed leaves its own behind, perhaps with payloads that were opened: the next one
    removes it. Whose process lives is told by a lock on the folder, which is the kernel's.
    """
    with locked(root):  # nobody takes a folder that is not locked yet for one that was left behind
        for left in folder.glob(f"{ASIDE}*"):
            _remove_left(left)
        path = Path(tempfile.mkdtemp(prefix=ASIDE, dir=folder))
        descriptor = os.open(path, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield path
    finally:
        shutil.rmtree(path)
        os.close(descriptor)


def _remove_left(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:  # its process has just removed it
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    except (BlockingIOError, FileNotFoundError):  # its process is at work, or has just ended
        return
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the workspace: whoever halts a rollout must not meet a publication half way.

    Raises `BusyError` after half a minute, and `StateError` when there is no such folder. The lock is
    the kernel's: a process that dies leaves none behind.
    """
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StateError(
            f"{folder}: cannot be used as a fleet's folder: {error.strerror}"
        ) from error
    try:
        _take(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path) -> None:
    for _ in range(int(LOCK_WAIT_S / LOCK_POLL_S)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_POLL_S)
        else:
            return
    raise BusyError(f"{folder}: another lockgate-fleet has been changing it for {LOCK_WAIT_S} s")
