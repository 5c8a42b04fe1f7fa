"""A disk in a file whose every write is logged below the kernel's file systems.

`qemu-storage-daemon` exports the file through FUSE and logs what reaches it; a loop device over that
export is a block device like any other. Needs root, `/dev/fuse` and loop devices.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.linux.mounts import run

START_S: Final = 10.0
PAUSE_S: Final = 0.05
END_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class LoggedDisk:
    """Where its log is, and where it can be used: as a file, and as a block device."""

    log: Path
    export: Path
    device: str


@contextmanager
def logged_disk(folder: Path, disk: Path) -> Iterator[LoggedDisk]:
    """Log what is written to `disk` while the context lasts."""
    log, export, ready = folder / "disk.log", folder / "disk.export", folder / "ready"
    log.write_bytes(b"")
    export.write_bytes(b"")
    command = (
        "qemu-storage-daemon",
        *("--blockdev", f"driver=file,node-name=disk,filename={disk}"),
        *("--blockdev", f"driver=file,node-name=log,filename={log}"),
        *("--blockdev", "driver=blklogwrites,node-name=logged,file=disk,log=log"),
        *("--export", f"type=fuse,id=export,node-name=logged,mountpoint={export},writable=on"),
        *("--pidfile", str(ready)),
    )
    daemon = subprocess.Popen(command)
    try:
        _wait_for(ready, daemon)
        device = run("losetup", "--find", "--show", str(export))
        try:
            yield LoggedDisk(log, export, device)
        finally:
            run("losetup", "--detach", device)
    finally:
        daemon.terminate()
        daemon.wait(END_S)


def _wait_for(ready: Path, daemon: "subprocess.Popen[bytes]") -> None:
    for _ in range(int(START_S / PAUSE_S)):
        if ready.exists():
            return
        assert daemon.poll() is None, "qemu-storage-daemon ended; is /dev/fuse there?"
        time.sleep(PAUSE_S)
    raise AssertionError(f"qemu-storage-daemon was not ready after {START_S:g} s")
