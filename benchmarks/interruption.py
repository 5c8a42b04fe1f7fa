"""One device that installs, is killed at a share of its work, and installs to the end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.device import REBOOT_DUE, Device
from benchmarks.measure import StepFailedError
from benchmarks.wire import Relay

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
POLL_S: Final = 0.002
DEADLINE_S: Final = 600.0
WINDOW_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Ending:
    """How one process ended, and what it cost: on the wire, on the medium, in processor time."""

    killed: bool
    reached_bytes: int
    written_bytes: int
    cpu_s: float
    printed: str

    def said(self, key: str) -> int:
        """A number in what the program says of itself."""
        return int(json.loads(self.printed)[key])


@dataclass(frozen=True, slots=True)
class Subject:
    """A device with what it shall hold, and what its standby slot holds before.

    `lossy` names the power cut: a kill that takes what was not flushed along. It is the seed of that.
    """

    device: Device
    relay: Relay
    before: Path
    image: Path
    lossy: str = ""

    @property
    def slot(self) -> Path:
        """The file of the standby slot."""
        return (self.device.folder / "slot-b").resolve()

    def forget(self, *, slot_too: bool = True) -> None:
        """Back to the beginning: no state, and the slot as it was."""
        for name in ("state", "run", "written"):
            path = self.device.folder / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(
                missing_ok=True
            )
        if slot_too:
            shutil.copyfile(self.before, self.slot)

    def changed_bytes(self) -> int:
        """The windows in which the image differs from what the slot holds before."""
        pairs = zip(_windows(self.before), _windows(self.image), strict=True)
        return sum(len(new) for old, new in pairs if old != new)

    def holds_image(self) -> bool:
        """Whether the slot holds the image now."""
        return self.slot.read_bytes() == self.image.read_bytes()

    def run(self, kill_at_cpu_s: float | None = None) -> Ending:
        """The program up to the reboot, or until it has used this much processor time."""
        out = self.device.folder / "printed"
        with out.open("wb") as printed:
            process = subprocess.Popen(self._command(), stdout=printed, stderr=subprocess.STDOUT)
        deadline_s = time.monotonic() + DEADLINE_S
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            due = kill_at_cpu_s is not None and _cpu_s(process.pid) >= kill_at_cpu_s
            if due or time.monotonic() > deadline_s:
                process.kill()
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            time.sleep(POLL_S)
        cpu_s, written = _cpu_s(process.pid), self._written_bytes(process.pid)
        status = process.wait()
        if status not in (REBOOT_DUE, -signal.SIGKILL):
            raise StepFailedError(f"exit status {status}: {out.read_text()}")
        return Ending(
            status == -signal.SIGKILL, self.relay.taken_bytes(), written, cpu_s, out.read_text()
        )

    def _command(self) -> tuple[str, ...]:
        config = str(self.device.config)
        if self.lossy:
            module = "benchmarks.interrupted_device"
            return (sys.executable, "-m", module, config, self.lossy)
        return (
            sys.executable,
            "-m",
            "agent",
            "--config",
            config,
            "--json",
            "install",
            "--reboot",
            "no",
        )

    def _written_bytes(self, process: int) -> int:
        """What the process wrote into files, as the kernel counts it; a lossy one counts for itself."""
        counted = self.device.folder / "written"
        if self.lossy:
            count = int.from_bytes(counted.read_bytes(), "little") if counted.exists() else 0
            counted.unlink(missing_ok=True)
            return count
        lines = Path(f"/proc/{process}/io").read_text().splitlines()
        return int(dict(line.split(": ") for line in lines)["wchar"])


def _cpu_s(process: int) -> float:
    """Fields 14 and 15 of proc_pid_stat(5), utime and stime, counted behind the name in brackets."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _windows(path: Path) -> list[bytes]:
    content = path.read_bytes()
    return [content[start : start + WINDOW_BYTES] for start in range(0, len(content), WINDOW_BYTES)]
