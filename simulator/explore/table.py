"""What an exploration prints: progress while it runs, then one row for each configuration."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from simulator.explore.result import Broken, Progress, Result

COLUMNS = (
    *("board", "scenario", "operations", "crash states", "distinct states", "deepest chain"),
    *("closure", "violations", "seconds"),
)
LEFT = frozenset(("board", "scenario", "closure"))
CHAINS_MAX = 3
"""How many broken promises of one configuration are told in full."""
LINE_EVERY_S = 10.0
"""How often a line says how far it is, where there is no terminal."""


@dataclass(slots=True)
class Bulletin:
    """Progress: a live display on a terminal, now and then a line elsewhere. `count` searches are to come."""

    console: Console
    count: int
    clock_s: Callable[[], float] = time.monotonic
    _bars: Bars | None = None
    _tasks: dict[str, TaskID] = field(default_factory=dict)
    _finished: set[str] = field(default_factory=set)
    _said_s: float = 0.0

    def __enter__(self) -> Self:
        self._said_s = self.clock_s()
        if self.console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            self._bars = Bars(*columns, console=self.console, transient=True)
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def tell(self, progress: Progress) -> None:
        """One search has come this far."""
        if progress.finished:
            self._finished.add(progress.configuration)
        told = (
            f"{progress.configuration:32} {progress.crash_states:>10,} crash states, "
            f"{progress.distinct:,} distinct, {progress.waiting:,} to recover from"
        )
        if self._bars is not None:
            self._show(self._bars, progress, told)
        elif progress.finished or self.clock_s() - self._said_s >= LINE_EVERY_S:
            self._said_s = self.clock_s()
            done = f"{len(self._finished)}/{self.count}"
            self.console.print(f"{done:>7}  {told}", markup=False, highlight=False, soft_wrap=True)

    def _show(self, bars: Bars, progress: Progress, told: str) -> None:
        name = progress.configuration
        if name not in self._tasks:
            self._tasks[name] = bars.add_task(told, total=1)
        bars.update(self._tasks[name], description=told, completed=int(progress.finished))


def row(result: Result) -> tuple[str, ...]:
    """The cells of one configuration."""
    return (result.board, result.scenario, *_sums([result], result.duration_s))


def total(name: str, results: Sequence[Result], duration_s: float) -> tuple[str, ...]:
    """The cells of several configurations together."""
    return (name, str(len(results)), *_sums(results, duration_s))


def _sums(results: Sequence[Result], duration_s: float) -> tuple[str, ...]:
    return (
        f"{sum(one.operations for one in results):,}",
        f"{sum(one.crash_states for one in results):,}",
        f"{sum(one.distinct for one in results):,}",
        str(max((one.deepest for one in results), default=0)),
        "yes" if all(one.closed for one in results) else "NO",
        str(sum(len(one.broken) for one in results)),
        f"{duration_s:.1f}",
    )


def print_table(console: Console, results: Sequence[Result], duration_s: float) -> None:
    """The table with a row for each board, and the first broken promises with the cuts that lead there.

    The seconds of the last row are those that passed, all others those of one process.
    """
    table = Table(box=None, header_style="bold", show_footer=True, pad_edge=False)
    for name, footer in zip(COLUMNS, total("all", results, duration_s), strict=True):
        table.add_column(name, footer, justify="left" if name in LEFT else "right", no_wrap=True)
    for board, same in groupby(results, key=lambda one: one.board):
        rows = list(same)
        for result in rows:
            table.add_row(*row(result), style=None if result.good else "red")
        if len(rows) > 1:
            spent_s = sum(one.duration_s for one in rows)
            table.add_row(*total(board, rows, spent_s), style="bold", end_section=True)
    console.print(table)
    _print_audit(console, results)
    for result in results:
        for broken in result.broken[:CHAINS_MAX]:
            console.print(told(result, broken), markup=False, highlight=False)


def _print_audit(console: Console, results: Sequence[Result]) -> None:
    audited = sum(one.audited for one in results)
    if audited:
        console.print(
            f"audit: {sum(one.merged for one in results):,} times a state was found that is named like a "
            f"known one; {sum(one.other_bytes for one in results):,} of them are not the same bytes; "
            f"{audited:,} of these were run after all, {sum(one.different for one in results)} differ",
            soft_wrap=True,
        )


def told(result: Result, broken: Broken) -> str:
    """One broken promise in words."""
    lines = [f"{result.board} {result.scenario}: {broken.violation.invariant}:"]
    lines.append(f"  {broken.violation.told}")
    lines.extend(
        f"  power cut {number} at operation {cut.operation}, {cut.told}; {cut.leaves}"
        for number, cut in enumerate(broken.chain, start=1)
    )
    return "\n".join(lines)


def document(results: Sequence[Result], duration_s: float) -> str:
    """The same for machines."""
    rows = [
        {
            "board": one.board,
            "scenario": one.scenario,
            "operations": one.operations,
            "crash_states": one.crash_states,
            "distinct_states": one.distinct,
            "deepest_chain": one.deepest,
            "closure": one.closed,
            "boots_max": one.boots_max,
            "files_replaced_max": one.replaced_max,
            "endings": one.outcomes,
            "violations": [
                {
                    "invariant": broken.violation.invariant,
                    "told": broken.violation.told,
                    "cuts": [
                        {"operation": cut.operation, "name": cut.told, "leaves": cut.leaves}
                        for cut in broken.chain
                    ],
                }
                for broken in one.broken
            ],
            "boots": one.boots,
            "chip_cuts": one.chip_cuts,
            "merged": one.merged,
            "audited": one.audited,
            "merged_from_other_bytes": one.other_bytes,
            "audited_different": one.different,
            "seconds": round(one.duration_s, 1),
        }
        for one in results
    ]
    return json.dumps({"configurations": rows, "seconds": round(duration_s, 1)}, indent=2)
