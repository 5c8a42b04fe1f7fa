"""Many seeds, over as many processes as asked for, and the figures that they add up to."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Final

from simulator.profiles import profile_names
from simulator.storm.keys import remember_signatures
from simulator.storm.storm import Storm, run_storm

BATCH: Final = 10
"""Seeds that one process takes at once."""


@dataclass(frozen=True, slots=True)
class Task:
    """One seed on one kind of board."""

    seed: int
    board: str


@dataclass(frozen=True, slots=True)
class Failure:
    """One seed that showed something wrong, with its trace and the command that shows it again."""

    seed: int
    board: str
    violations: tuple[str, ...]
    trace: str
    replay: str


@dataclass(slots=True)
class Figures:
    """What many seeds add up to."""

    seeds: int = 0
    devices: int = 0
    boots: int = 0
    cuts: int = 0
    faults: int = 0
    operations: int = 0
    simulated_s: float = 0.0
    wall_s: float = 0.0
    processor_s: float = 0.0
    endings: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: "Figures") -> None:
        """Add what another process has found."""
        self.seeds += other.seeds
        self.devices += other.devices
        self.boots += other.boots
        self.cuts += other.cuts
        self.faults += other.faults
        self.operations += other.operations
        self.simulated_s += other.simulated_s
        self.processor_s += other.processor_s
        self.endings.update(other.endings)
        self.failures += other.failures

    def document(self) -> dict[str, object]:
        """The figures as JSON, without traces."""
        return {
            "seeds": self.seeds,
            "failed": sorted(f"{one.seed} {one.board}" for one in self.failures),
            "devices": self.devices,
            "boots": self.boots,
            "power_cuts": self.cuts,
            "faults": self.faults,
            "operations": self.operations,
            "simulated_days": round(self.simulated_s / 86400, 1),
            "wall_s": round(self.wall_s, 1),
            "processor_s": round(self.processor_s, 1),
            "seeds_per_second": round(self.seeds / max(self.wall_s, 1e-9), 1),
            "seeds_per_processor_second": round(self.seeds / max(self.processor_s, 1e-9), 1),
            "endings": dict(sorted(self.endings.items())),
        }


def tasks_of(seeds: Sequence[int], boards: Sequence[str]) -> list[Task]:
    """Each seed on one kind of board, in turn; so a seed is named together with its board."""
    known = list(boards) or profile_names()
    return [Task(seed, known[seed % len(known)]) for seed in seeds]


def run_many(
    tasks: Sequence[Task],
    *,
    processes: int = 1,
    until_s: float | None = None,
    tell: Callable[[Figures], None] = lambda _figures: None,
) -> Figures:
    """Run these, until all are done or this many seconds have passed; `tell` hears of progress."""
    began_s = time.monotonic()
    figures = Figures()
    batches = [tasks[start : start + BATCH] for start in range(0, len(tasks), BATCH)]
    for found in _results(batches, processes):
        figures.add(found)
        figures.wall_s = time.monotonic() - began_s
        tell(figures)
        if until_s is not None and figures.wall_s >= until_s:
            break
    return figures


def _results(batches: list[Sequence[Task]], processes: int) -> Iterator[Figures]:
    if processes <= 1:
        yield from map(run_batch, batches)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting: set[Future[Figures]] = set()
        rest = iter(batches)
        try:
            for batch in rest:
                waiting.add(pool.submit(run_batch, batch))
                if len(waiting) >= 2 * processes:
                    done = next(as_completed(waiting))
                    waiting.remove(done)
                    yield done.result()
            for done in as_completed(waiting):
                yield done.result()
        finally:
            for future in waiting:
                future.cancel()


def run_batch(batch: Sequence[Task]) -> Figures:
    """Some seeds in this process."""
    remember_signatures()
    figures = Figures()
    began_s = time.process_time()
    for task in batch:
        _count(figures, run_storm(task.seed, task.board))
    figures.processor_s = time.process_time() - began_s
    return figures


def _count(figures: Figures, storm: Storm) -> None:
    figures.seeds += 1
    figures.devices += storm.devices
    figures.boots += storm.boots
    figures.cuts += storm.cuts
    figures.faults += storm.faults
    figures.operations += storm.operations
    figures.simulated_s += storm.simulated_s
    figures.endings.update(storm.endings)
    if storm.violations:
        figures.failures.append(
            Failure(storm.seed, storm.board, storm.violations, storm.trace, storm.replay)
        )


def processes_here() -> int:
    """As many as this machine lets us run at once."""
    return len(os.sched_getaffinity(0))
