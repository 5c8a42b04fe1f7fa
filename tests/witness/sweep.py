"""Kills and faults at every durable system call of a whole update, on real files.

Each call of each boot is the last one of its process once, and fails once with each error that a disk
has. After each the device is brought to rest without any fault, and judged.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random as Generator
from signal import SIGKILL
from typing import Final

from agent.report import Outcome
from simulator.image import Behaviour
from simulator.lab import EXPECTED
from tests.witness.bench import (
    Bench,
    Run,
    Snapshot,
    ViolationError,
    check_ending,
    make_bench,
)
from tests.witness.calls import Call
from tests.witness.device import FAILED
from tests.witness.durability import Durability
from tests.witness.tracing import (
    KILL,
    Point,
    TracedBoot,
    around_filters,
    from_here_on,
    inject,
    once,
    path_filters,
    trace,
    trace_update,
)

ERRORS: Final = ("ENOSPC", "EIO", "EINTR", "EROFS")
LASTING: Final = ("ENOSPC", "EROFS")
GIVEN_UP: Final = frozenset(("boot-control", "install", "state"))
"""Why an update may end other than by its image when the disk fails under it."""

Say = Callable[[str], None]


class Recovery(StrEnum):
    """Who comes after a process that was killed: the service manager, or the bootloader."""

    RESTART = "restart"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of update on one kind of board."""

    profile: str
    behaviour: Behaviour

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.profile}, {self.behaviour} image"


@dataclass(slots=True)
class Tally:
    """What a sweep did and found."""

    calls: int = 0
    kills: int = 0
    faults: int = 0
    recoveries: int = 0
    processes: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Sum up."""
        for name in ("calls", "kills", "faults", "recoveries", "processes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.outcomes += other.outcomes
        self.violations += other.violations


@dataclass(frozen=True, slots=True)
class Prepared:
    """An update that ran once without any fault, and all its durable calls."""

    case: Case
    bench: Bench
    filters: tuple[str, ...]
    boots: tuple[TracedBoot, ...]

    def points(self) -> Iterator[tuple[TracedBoot, Point]]:
        """Every durable call of every boot."""
        for boot in self.boots:
            for point in boot.points:
                yield boot, point


def prepare(folder: Path, case: Case, seed: int) -> Prepared:
    """Run the update twice: to learn which files there are, then to learn its calls."""
    bench = make_bench(folder, case.profile, seed=seed, behaviour=case.behaviour)
    new = bench.snapshot()
    bench.run_until_quiet()
    filters = path_filters(bench)
    bench.restore(new)
    boots = tuple(trace_update(bench, filters))
    bench.check()
    return Prepared(case, bench, filters, boots)


def sample(prepared: Prepared, seed: int, count: int) -> list[tuple[TracedBoot, Point]]:
    """Some of the calls, each kind at least once where there is room; the same for the same seed."""
    chance = Generator(seed)
    everything = list(prepared.points())
    chance.shuffle(everything)
    firsts = {point.name: (boot, point) for boot, point in reversed(everything)}
    chosen = list(firsts.values())
    return [*chosen, *(one for one in everything if one not in chosen)][:count]


def sweep_kills(
    prepared: Prepared, points: Iterable[tuple[TracedBoot, Point]], tally: Tally, say: Say
) -> None:
    """Let each of these calls be the last of its process; then recover in both ways."""
    for boot, point in points:
        tally.calls += 1
        try:
            _kill(prepared, boot, point, tally)
        except ViolationError as error:
            tally.violations.append(
                f"{prepared.case.name}: killed at {_place(prepared, boot, point)}: {error}"
            )
            say(tally.violations[-1])


def _kill(prepared: Prepared, boot: TracedBoot, point: Point, tally: Tally) -> None:
    bench = prepared.bench
    bench.restore(boot.before)
    run, calls = inject(bench, prepared.filters, once(point, KILL))
    if run.status != -SIGKILL:
        raise ViolationError(f"the process was to die, it ended with {run.status}: {run.errors}")
    _expect_last(calls, point)
    tally.kills += 1
    after = bench.snapshot()
    for recovery in Recovery:
        if recovery is Recovery.RESET:  # which empties what is in memory
            bench.restore(after)
        _recover(prepared, recovery, calls)
        bench.check()
        tally.outcomes[EXPECTED[prepared.case.behaviour].value] += 1
        tally.recoveries += 1


def _expect_last(calls: list[Call], point: Point) -> None:
    """The process died at the call that was meant, not at another one of that name."""
    wanted = point.text.rpartition(") = ")[0]
    last = calls[-1] if calls else None
    if last is None or not last.text.startswith(wanted):
        raise ViolationError(f"it was to die at {point.text}, it died at {last and last.text}")


def _recover(prepared: Prepared, recovery: Recovery, before: list[Call]) -> None:
    """Bring the device to rest, and see that nothing counts before it is durable."""
    bench = prepared.bench
    if recovery is Recovery.RESET:
        bench.reset()
        bench.run_until_quiet()
        return
    durability = Durability(bench.settings.device, bench.settings.around)
    durability.follow(before)

    def process() -> Run:
        run, calls = trace(bench, *prepared.filters, *around_filters(bench))
        durability.follow(calls)
        return run

    bench.run_until_quiet(process)
    if durability.findings:
        raise ViolationError("; ".join(durability.findings))


def sweep_errors(
    prepared: Prepared,
    points: Iterable[tuple[TracedBoot, Point]],
    tally: Tally,
    say: Say,
) -> None:
    """Let each of these calls fail once with each error, and from there on with those that last."""
    for boot, point in points:
        tally.calls += 1
        faults: dict[str, tuple[str, ...]] = {
            name: (once(point, f"error={name}"),) for name in ERRORS
        }
        for name in LASTING:
            faults[f"{name} from here on"] = from_here_on(boot, point, f"error={name}")
        for name, fault in faults.items():
            try:
                _fail(prepared, boot.before, name, fault, tally)
            except ViolationError as error:
                place = _place(prepared, boot, point)
                tally.violations.append(f"{prepared.case.name}: {name} at {place}: {error}")
                say(tally.violations[-1])


def _fail(
    prepared: Prepared, before: Snapshot, name: str, faults: tuple[str, ...], tally: Tally
) -> None:
    bench = prepared.bench
    bench.restore(before)
    running = bench.slot(before.boot.slot or "a")
    run, calls = inject(bench, prepared.filters, *faults)
    if not any("(INJECTED)" in call.result for call in calls):
        raise ViolationError("no call failed; the fault did not strike")
    tally.faults += 1
    check_ending(run)
    if run.status == FAILED and run.errors.count("\n") != 1:
        raise ViolationError(f"one line was to say what is wrong, found:\n{run.errors}")
    if bench.slot(before.boot.slot or "a") != running:
        raise ViolationError("the slot that runs was written")
    bench.run_until_quiet()
    outcome = bench.check_report()
    _expect_outcome(bench, name, outcome)
    bench.check_rest(outcome)
    alarms = sum(1 for report in bench.reports() if not report["update"])
    tally.outcomes[outcome.value] += 1
    tally.outcomes["alarm"] += alarms
    tally.recoveries += 1


def _expect_outcome(bench: Bench, name: str, outcome: Outcome) -> None:
    """An interrupted call changes nothing; a disk that fails may end the update, and says so."""
    if outcome is EXPECTED[bench.behaviour]:
        return
    (code,) = (str(report["code"]) for report in bench.reports() if report["update"])
    if name == "EINTR" or code not in GIVEN_UP:
        raise ViolationError(f"{EXPECTED[bench.behaviour]} was to be its end, {outcome}: {code}")


def _place(prepared: Prepared, boot: TracedBoot, point: Point) -> str:
    number = prepared.boots.index(boot) + 1
    return f"boot {number}, call {point.place + 1} of {len(boot.points)}: {point.text[:160]}"
