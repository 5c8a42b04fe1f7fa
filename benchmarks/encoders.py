"""What the publisher makes of a pair of images, with each tool, and what that costs."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.measure import Cost, run
from benchmarks.pair import Pair
from benchmarks.rows import Results, Row, with_cost

STEPS: Final = (sys.executable, "-m", "benchmarks.delta_steps")
ROOT: Final = Path(__file__).parents[1]
FULL: Final = "lockgate full"
DELTA: Final = "lockgate delta"
ZSTD: Final = "zstd --patch-from"
XDELTA: Final = "xdelta3"
CASYNC: Final = "casync, 64 KiB pieces"
ZCHUNK: Final = "zchunk"
ZSYNC: Final = "zsync"
WHOLE: Final = "whole image, zstd -12"
SECTION: Final = "encode"
XDELTA_SOURCE_MAX: Final = 2_000_000_000
"""xdelta3 takes no larger source buffer."""

Encoder = Callable[[Pair], tuple[int | None, Cost]]
"""Makes its file or folder and says how long the file is."""


def full(pair: Pair) -> tuple[int | None, Cost]:
    """Full payloads of both images; the cost is that of the new one."""
    pair.blobs.mkdir(parents=True, exist_ok=True)
    if pair.image(pair.old) is None:
        run((*STEPS, "full", str(pair.old), str(pair.blobs)), folder=ROOT)
    cost = run((*STEPS, "full", str(pair.new), str(pair.blobs)), folder=ROOT)
    return int(cost.printed), cost


def delta(pair: Pair) -> tuple[int | None, Cost]:
    """The delta payload, from the full ones."""
    cost = run((*STEPS, "delta", str(pair.old), str(pair.new), str(pair.blobs)), folder=ROOT)
    return int(cost.printed), cost


def whole(pair: Pair) -> tuple[int | None, Cost]:
    """The image alone."""
    made = pair.made(f"{pair.name}.zst")
    cost = run(("zstd", "-q", "-f", "-12", "-T2", str(pair.new), "-o", str(made)))
    return made.stat().st_size, cost


def zstd(pair: Pair) -> tuple[int | None, Cost]:
    """A patch with the old image as a dictionary."""
    made = pair.made(f"{pair.name}.zstd-patch")
    command = ("zstd", "-q", "-f", "-19", "--long=31", f"--patch-from={pair.old}", str(pair.new))
    cost = run((*command, "-o", str(made)))
    return made.stat().st_size, cost


def xdelta(pair: Pair) -> tuple[int | None, Cost]:
    """A VCDIFF patch, the whole old image in memory."""
    made = pair.made(f"{pair.name}.xdelta3")
    source = str(min(XDELTA_SOURCE_MAX, max(pair.old.stat().st_size, 1 << 20)))
    command = ("xdelta3", "-q", "-f", "-e", "-9", "-B", source, "-s", str(pair.old), str(pair.new))
    cost = run((*command, str(made)))
    return made.stat().st_size, cost


def casync(pair: Pair) -> tuple[int | None, Cost]:
    """A store of pieces and an index, of the new image; 64 KiB is its usual size."""
    pair.served.mkdir(parents=True, exist_ok=True)
    store, index = pair.served / f"{pair.name}.castr", pair.served / f"{pair.name}.caibx"
    shutil.rmtree(store, ignore_errors=True)
    cost = run(("casync", "make", f"--store={store}", str(index), str(pair.new)))
    return None, cost


def zchunk(pair: Pair) -> tuple[int | None, Cost]:
    """Both images as zchunk files: a device must have kept the old one."""
    pair.served.mkdir(parents=True, exist_ok=True)
    run(("zck", "-o", str(pair.made(f"{pair.old.name}.zck")), str(pair.old)))
    cost = run(("zck", "-o", str(pair.served / f"{pair.name}.zck"), str(pair.new)))
    return None, cost


def zsync(pair: Pair) -> tuple[int | None, Cost]:
    """Checksums of the new image's blocks; the image itself is served."""
    pair.served.mkdir(parents=True, exist_ok=True)
    link = pair.served / pair.name
    link.unlink(missing_ok=True)
    link.symlink_to(pair.new)
    cost = run(
        ("zsyncmake", "-u", pair.name, "-o", str(pair.served / f"{pair.name}.zsync"), str(pair.new))
    )
    return None, cost


ENCODERS: Final[dict[str, Encoder]] = {
    FULL: full,
    DELTA: delta,
    CASYNC: casync,
    ZCHUNK: zchunk,
    ZSYNC: zsync,
    XDELTA: xdelta,
    WHOLE: whole,
    ZSTD: zstd,
}


def encode(pair: Pair, results: Results, tools: list[str]) -> None:
    """Make what is not there yet, one row for each tool."""
    for tool in tools:
        if results.find(SECTION, pair.name, tool) is None:
            length_bytes, cost = ENCODERS[tool](pair)
            results.put(with_cost(Row(SECTION, pair.name, tool, length_bytes), cost))
