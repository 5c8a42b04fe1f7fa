"""What a delta costs: its bytes beside those of zstd and xdelta3 in one run, and what the device pays.

    python -m benchmarks.bench_delta                a small pair of file systems, made on the spot
    python -m benchmarks.bench_delta --images DIR   DIR/v1.ext4 against every other DIR/*.ext4

Peers that are not installed are left out. CPU seconds are those of all processes of a step, memory is the
largest peak of one of them. Nothing is fetched over a network.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.software import make_ext4

STEPS = (sys.executable, "-m", "benchmarks.delta_steps")
KIB_PER_MIB = 1024
ZSTD_WINDOW_LOG = 31


@dataclass(frozen=True, slots=True)
class Cost:
    """What one program took, and what it printed."""

    cpu_s: float
    wall_s: float
    peak_mib: float
    printed: str


def run(*command: str) -> Cost:
    """Run a program to its end. Raises `CalledProcessError`."""
    begin = time.monotonic()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        out.seek(0)
        printed = out.read().decode()
    cpu_s = usage.ru_utime + usage.ru_stime
    return Cost(cpu_s, time.monotonic() - begin, usage.ru_maxrss / KIB_PER_MIB, printed)


def peers(old: Path, new: Path, folder: Path) -> dict[str, tuple[str, ...]]:
    """The commands of other tools that are installed, by name; each writes `folder/NAME`."""
    zstd = ("zstd", "-q", "-f", "-19", f"--long={ZSTD_WINDOW_LOG}", f"--patch-from={old}", str(new))
    source_bytes = str(max(old.stat().st_size, 1 << 20))
    xdelta = ("xdelta3", "-q", "-f", "-e", "-B", source_bytes, "-s", str(old), str(new))
    commands = {
        "zstd --patch-from": (*zstd, "-o", str(folder / "zstd --patch-from")),
        "xdelta3": (*xdelta, str(folder / "xdelta3")),
    }
    return {name: command for name, command in commands.items() if shutil.which(command[0])}


def compare(old: Path, new: Path, folder: Path) -> None:
    """Print the table of one pair."""
    run(*STEPS, "full", str(old), str(folder))
    full = run(*STEPS, "full", str(new), str(folder))
    delta = run(*STEPS, "delta", str(old), str(new), str(folder))
    device = run(*STEPS, "install", str(old), str(new), str(folder))
    ours = int(delta.printed)
    print(f"\n{old.name} -> {new.name}")
    print(f"{'':22}{'bytes':>12}{'ours is':>9}{'CPU s':>8}{'wall s':>8}{'MiB':>7}")
    _row("lockgate delta", ours, ours, delta)
    _row("lockgate full", int(full.printed), ours, full)
    for name, command in peers(old, new, folder).items():
        cost = run(*command)
        _row(name, (folder / name).stat().st_size, ours, cost)
        (folder / name).unlink()
    _row("a device fetches", int(device.printed), ours, device)


def _row(name: str, length_bytes: int, ours: int, cost: Cost) -> None:
    share = f"{ours / length_bytes:.3f} x"
    numbers = f"{cost.cpu_s:8.1f}{cost.wall_s:8.1f}{cost.peak_mib:7.0f}"
    print(f"{name:22}{length_bytes:12,}{share:>9}{numbers}", flush=True)


def main() -> None:
    """Compare every pair."""
    parser = argparse.ArgumentParser(description="bytes of deltas beside those of other tools")
    parser.add_argument("--images", type=Path, metavar="DIR", help="DIR/v1.ext4 is the old image")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lockgate-delta-", dir=options.images) as name:
        folder = Path(name)
        if options.images is None:
            old, others = make_ext4(folder, 0), [make_ext4(folder, 1)]
        else:
            old = options.images / "v1.ext4"
            others = sorted(set(options.images.glob("*.ext4")) - {old})
        for new in others:
            compare(old, new, folder)


if __name__ == "__main__":
    main()
