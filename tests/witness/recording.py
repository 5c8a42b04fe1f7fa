"""Seams that say in a log what they are asked for, before and after the real one does it.

A line is one `write` of `begin` or `end`, the seam's method and its detail. The log lies apart from all
that a device may change, so that a trace of system calls shows both in one order.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent.interfaces import (
    BlockDevice,
    CheckResult,
    Conditions,
    Files,
    Storage,
    System,
    SystemFacts,
)
from tests.witness.block_log import entry_count

LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


@dataclass(slots=True)
class SeamLog:
    """The log of one process, appended to what earlier ones said."""

    path: Path
    _descriptor: int = -1

    @contextmanager
    def opened(self) -> Iterator["SeamLog"]:
        """Open for the time of one boot."""
        self._descriptor = os.open(self.path, LOG_FLAGS, 0o600)
        try:
            yield self
        finally:
            os.close(self._descriptor)

    @contextmanager
    def call(self, method: str, detail: str) -> Iterator[None]:
        """Note that a call begins, and that it ended well; one that failed is noted as such."""
        self._write(f"begin {method} {detail}\n")
        try:
            yield
        except BaseException:
            self._write(f"fail {method} {detail}\n")
            raise
        self._write(f"end {method} {detail}\n")

    def _write(self, line: str) -> None:
        os.write(self._descriptor, line.encode())


@dataclass(frozen=True, slots=True)
class Acknowledgements:
    """What was said to be durable, and how much the disk had logged by then.

    One line of JSON each, in a file apart from the disk: the name, the SHA-256 of the content, and the
    number of entries in the disk's log. Without a log to count in nothing is noted.
    """

    path: Path
    block_log: Path | None

    def note(self, name: str, content: bytes) -> None:
        """This content is durable now."""
        if self.block_log is None:
            return
        row = {"name": name, "sha256": sha256(content), "entries": entry_count(self.block_log)}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def sha256(content: bytes) -> str:
    """As hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True)
class RecordingFiles:
    """`Files` that are recorded, and acknowledged outside when they are durable."""

    inner: Files
    log: SeamLog
    acknowledgements: Acknowledgements

    def read(self, name: str) -> bytes | None:
        """Recorded too: a read must not write."""
        with self.log.call("Files.read", name):
            return self.inner.read(name)

    def replace(self, name: str, content: bytes) -> None:
        """Recorded with the length."""
        with self.log.call("Files.replace", f"{name} {len(content)}"):
            self.inner.replace(name, content)
        self.acknowledgements.note(name, content)

    def remove(self, name: str) -> None:
        """Recorded."""
        with self.log.call("Files.remove", name):
            self.inner.remove(name)

    def names(self, folder: str) -> tuple[str, ...]:
        """Recorded too."""
        with self.log.call("Files.names", folder):
            return self.inner.names(folder)


@dataclass(frozen=True, slots=True)
class RecordingDevice:
    """A `BlockDevice` that is recorded."""

    inner: BlockDevice
    log: SeamLog
    path: str

    @property
    def size_bytes(self) -> int:
        """The real one."""
        return self.inner.size_bytes

    def read(self, offset: int, length_bytes: int) -> bytes:
        """Recorded too: a read must not write."""
        with self.log.call("BlockDevice.read", f"{self.path} {offset}+{length_bytes}"):
            return self.inner.read(offset, length_bytes)

    def write(self, offset: int, content: bytes) -> None:
        """Recorded with place and length."""
        with self.log.call("BlockDevice.write", f"{self.path} {offset}+{len(content)}"):
            self.inner.write(offset, content)

    def holds(self, offset: int, content: bytes) -> bool:
        """Recorded as the read that it is."""
        with self.log.call("BlockDevice.read", f"{self.path} {offset}+{len(content)}"):
            return self.inner.holds(offset, content)

    def flush_behind(self) -> None:
        """Recorded."""
        with self.log.call("BlockDevice.flush_behind", self.path):
            self.inner.flush_behind()

    def flush(self) -> None:
        """Recorded."""
        with self.log.call("BlockDevice.flush", self.path):
            self.inner.flush()


@dataclass(frozen=True, slots=True)
class RecordingStorage:
    """`Storage` whose devices are recorded."""

    inner: Storage
    log: SeamLog
    _devices: dict[str, RecordingDevice] = field(default_factory=dict)

    def device(self, path: str) -> RecordingDevice:
        """The device at this path; the same object each time."""
        if path not in self._devices:
            self._devices[path] = RecordingDevice(self.inner.device(path), self.log, path)
        return self._devices[path]


@dataclass(frozen=True, slots=True)
class RecordingSystem:
    """`System` whose reboots are recorded."""

    inner: System
    log: SeamLog

    def facts(self) -> SystemFacts:
        """The real ones."""
        return self.inner.facts()

    def run_check(self, command: tuple[str, ...], timeout_s: float) -> CheckResult:
        """The real one."""
        return self.inner.run_check(command, timeout_s)

    def reboot(self, argument: str) -> None:
        """Recorded with its argument."""
        with self.log.call("System.reboot", argument):
            self.inner.reboot(argument)

    def conditions(self, *, ask_link: bool) -> Conditions:
        """The real ones."""
        return self.inner.conditions(ask_link=ask_link)

    def make_way(self, *, low: bool) -> None:
        """The real one."""
        self.inner.make_way(low=low)

    def progress(self, status: str) -> None:
        """The real one."""
        self.inner.progress(status)
