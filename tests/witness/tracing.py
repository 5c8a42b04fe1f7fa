"""Runs of a device below strace: to see its system calls, and to make one of them fail or be its last.

strace counts the calls of each name for itself, and for each thread; what is counted is limited to the
paths of the device, so that the interpreter's own start does not shift a number.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.linux.files import UNFINISHED
from tests.witness.bench import Bench, Run, Snapshot, ViolationError, check_ending
from tests.witness.calls import DURABLE, NAMES, Call, is_durable, read_trace, touches

TEXT_BYTES: Final = "200"
KILL: Final = "signal=KILL"


@dataclass(frozen=True, slots=True)
class Point:
    """One durable call of one boot: the `count`-th of its name, at `place` among all of them."""

    place: int
    name: str
    count: int
    text: str


@dataclass(frozen=True, slots=True)
class TracedBoot:
    """One boot of an update that nothing disturbed: how it began, and its durable calls in order."""

    before: Snapshot
    points: tuple[Point, ...]
    counts: tuple[Counter[str], ...]
    """Before each point: how many calls of each name there had been, durable or not."""


def trace(bench: Bench, *filters: str, traced: str = DURABLE) -> tuple[Run, list[Call]]:
    """One process, and its calls of these names: those that may change what lasts, unless more are asked for.

    All other calls run at their full speed, because the kernel lets them pass by itself.
    """
    return _trace(bench, "--seccomp-bpf", *filters, traced=traced)


def _trace(bench: Bench, *options: str, traced: str) -> tuple[Run, list[Call]]:
    file = bench.settings.around / "trace"
    run = bench.run(
        "strace",
        "-f",
        "-y",
        "-qq",
        "-s",
        TEXT_BYTES,
        "-e",
        f"trace={traced}",
        "-o",
        str(file),
        *options,
    )
    return run, read_trace(file)


def path_filters(bench: Bench) -> tuple[str, ...]:
    """Options that limit a trace, and its counts, to whatever the device may change.

    strace compares whole paths, so each file is named, also those that exist for a moment only.
    """
    device = bench.settings.device
    state = bench.settings.state
    files = [file for file in device.rglob("*") if file.is_file()]
    unfinished = [Path(f"{file}{UNFINISHED}") for file in files if file.is_relative_to(state)]
    folders = [state, *(place for place in state.rglob("*") if place.is_dir())]
    filters: list[str] = []
    for path in sorted({device, *folders, *files, *unfinished}):
        filters += ["-P", str(path)]
    return tuple(filters)


def around_filters(bench: Bench) -> tuple[str, ...]:
    """Options for what depends on the device's files: reports that are stored, and reboots."""
    return tuple(
        word
        for name in ("fleet.log", "reboot")
        for word in ("-P", str(bench.settings.around / name))
    )


def trace_update(bench: Bench, filters: tuple[str, ...]) -> list[TracedBoot]:
    """Every boot of an update until nothing is under way."""
    boots: list[TracedBoot] = []
    for _ in range(8):
        before = bench.snapshot()
        run, calls = trace(bench, *filters)
        check_ending(run)
        boots.append(_traced(bench, before, calls))
        if not bench.went_down():
            break
    if not bench.quiet():
        raise ViolationError("an update without any fault did not end")
    return boots


def _traced(bench: Bench, before: Snapshot, calls: list[Call]) -> TracedBoot:
    seen: Counter[str] = Counter()
    points: list[Point] = []
    counts: list[Counter[str]] = []
    for call in calls:
        own = touches(call, (bench.settings.device,))
        if call.thread != calls[0].thread:
            if own:
                raise ViolationError(f"a second thread or program does {call.text}")
            continue
        if own and is_durable(call):
            counts.append(Counter(seen))
            points.append(Point(len(points), call.name, seen[call.name] + 1, call.text))
        seen[call.name] += 1
    return TracedBoot(before, tuple(points), tuple(counts))


def inject(bench: Bench, filters: tuple[str, ...], *faults: str) -> tuple[Run, list[Call]]:
    """One process in which faults strike: each is what strace's `inject=` takes.

    strace stops it at every call: where the kernel chooses, a signal is not delivered.
    """
    options = [word for fault in faults for word in ("-e", f"inject={fault}")]
    return _trace(bench, *options, *filters, traced=DURABLE)


def once(point: Point, fault: str) -> str:
    """A fault at exactly this call."""
    return f"{point.name}:{fault}:when={point.count}"


def from_here_on(boot: TracedBoot, point: Point, fault: str) -> tuple[str, ...]:
    """A fault at this call and at every later one that writes, names or syncs anything.

    Opening is left alone: strace cannot tell opening to write from opening to read.
    """
    names = {"write", "pwrite64", "fsync"} | NAMES
    before = boot.counts[point.place]
    used = sorted({other.name for other in boot.points} & names)
    return tuple(f"{name}:{fault}:when={before[name] + 1}+" for name in used)
