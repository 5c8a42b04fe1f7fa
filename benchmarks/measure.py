"""Runs a program and says what it took: CPU seconds, time, memory of all its processes.

CPU seconds are those of the program and of all that it waited for, and of services that work for it.
Threads of the kernel (loop devices, writing back) count for nobody. Memory is the largest peak of one
process, or the largest sum over all of them at one moment, with what they share counted once.
"""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

KIB_PER_MIB: Final = 1024
SAMPLE_EVERY_S: Final = 0.01
SUM_EVERY: Final = 10
"""Samples: the kernel walks all pages of a process to say how much of them is its own."""
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
SHOWN_BYTES: Final = 3000


class StepFailedError(Exception):
    """A program that is measured did not do what it was asked for."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one program took, and what it printed; memory in MiB."""

    cpu_s: float
    wall_s: float
    peak_mib: float
    anonymous_mib: float
    printed: str


@dataclass(slots=True)
class _Watch:
    """The memory of processes and their children, looked at again and again by a thread."""

    roots: tuple[int, ...]
    peak_kib: int = 0
    anonymous_kib: int = 0
    done: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        """Look until `done`."""
        count = 0
        while not self.done.wait(SAMPLE_EVERY_S):
            pids = [pid for root in self.roots for pid in _tree(root)]
            sizes = [_memory(pid) for pid in pids]
            self.peak_kib = max(self.peak_kib, *(peak for peak, _ in sizes))
            self.anonymous_kib = max(self.anonymous_kib, sum(own for _, own in sizes))
            if len(pids) > 1 and count % SUM_EVERY == 0:
                self.peak_kib = max(self.peak_kib, sum(_shared_kib(pid) for pid in pids))
            count += 1


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    accepted: tuple[int, ...] = (0,),
    services: tuple[int, ...] = (),
) -> Cost:
    """Run a program to its end; `services` are processes that work for it. Raises `StepFailedError`."""
    before_s = sum(_cpu_s(pid) for pid in services)
    with tempfile.TemporaryFile() as out:
        begin_s = time.monotonic()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(environment or {})},
        )
        watch = _Watch((process.pid, *services))
        looking = threading.Thread(target=watch.look)
        looking.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            watch.done.set()
            looking.join()
        wall_s = time.monotonic() - begin_s
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        printed = out.read().decode(errors="replace")
    if process.returncode not in accepted:
        raise StepFailedError(f"{command} gave {process.returncode}:\n{printed[-SHOWN_BYTES:]}")
    cpu_s = usage.ru_utime + usage.ru_stime + sum(_cpu_s(pid) for pid in services) - before_s
    peak_mib, anonymous_mib = watch.peak_kib / KIB_PER_MIB, watch.anonymous_kib / KIB_PER_MIB
    return Cost(cpu_s, wall_s, peak_mib, anonymous_mib, printed)


def _tree(root: int) -> list[int]:
    """A process and all below it (proc_pid_task(5), `children`)."""
    found = [root]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                found += [int(word) for word in task.read_text().split()]
            except (OSError, ValueError):
                continue  # it has ended
    return found


def _shared_kib(pid: int) -> int:
    """Resident memory with each shared page divided by those who share it (`Pss`)."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    if words == Path("/proc/self/cmdline").read_bytes():
        return 0
    return next((_kib(line.split(":")[1]) for line in lines if line.startswith("Pss:")), 0)


def _memory(pid: int) -> tuple[int, int]:
    """The peak of resident memory and the anonymous memory now, in KiB; nothing for what has ended."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0, 0
    if words == Path("/proc/self/cmdline").read_bytes():
        return 0, 0  # it has not become the program yet and shares the memory of this one
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return _kib(fields.get("VmHWM", "0")), _kib(fields.get("RssAnon", "0"))


def _kib(value: str) -> int:
    return int(value.split(maxsplit=1)[0])


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process and of its children that have ended (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(ticks) for ticks in fields[11:15]) / TICKS_PER_S
