"""What an exploration prints: progress while it runs, then one row for each configuration."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from simulator.explore.search import Broken, Progress, Result

COLUMNS = (
    *("board", "scenario", "operations", "crash states", "distinct states", "deepest chain"),
    *("closure", "violations", "seconds"),
)
CHAINS_MAX = 3
"""How many broken promises of one configuration are told in full."""


@dataclass(slots=True)
class Bulletin:
    """Progress on a terminal, or nothing where nobody watches."""

    console: Console
    _bars: Bars | None = None
    _tasks: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> Self:
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
        if self._bars is None:
            return
        name = progress.configuration
        told = (
            f"{name:32} {progress.crash_states:>12,} crash states, recovered from "
            f"{progress.visited:,} of {progress.distinct:,} distinct ones"
        )
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(told)
        self._bars.update(self._bars.task_ids[self._tasks[name]], description=told)


def row(result: Result) -> tuple[str, ...]:
    """The cells of one configuration."""
    return (
        result.board,
        result.scenario,
        f"{result.operations:,}",
        f"{result.crash_states:,}",
        f"{result.distinct:,}",
        str(result.deepest),
        "yes" if result.closed else "NO",
        str(len(result.broken)),
        f"{result.duration_s:.1f}",
    )


def total(results: Sequence[Result], duration_s: float) -> tuple[str, ...]:
    """The cells of the last row; its seconds are those that passed, not the sum."""
    return (
        "all",
        str(len(results)),
        f"{sum(one.operations for one in results):,}",
        f"{sum(one.crash_states for one in results):,}",
        f"{sum(one.distinct for one in results):,}",
        str(max((one.deepest for one in results), default=0)),
        "yes" if all(one.closed for one in results) else "NO",
        str(sum(len(one.broken) for one in results)),
        f"{duration_s:.1f}",
    )


def print_table(console: Console, results: Sequence[Result], duration_s: float) -> None:
    """The table, and the first broken promises with the cuts that lead to them."""
    table = Table(box=None, header_style="bold", show_footer=True, pad_edge=False)
    for name, footer in zip(COLUMNS, total(results, duration_s), strict=True):
        right = name not in ("board", "scenario", "closure")
        table.add_column(name, footer, justify="right" if right else "left", no_wrap=True)
    for result in results:
        table.add_row(*row(result), style=None if result.good else "red")
    console.print(table)
    for result in results:
        for broken in result.broken[:CHAINS_MAX]:
            console.print(told(result, broken), markup=False, highlight=False)


def told(result: Result, broken: Broken) -> str:
    """One broken promise in words."""
    lines = [f"{result.board} {result.scenario}: {broken.violation.invariant}:"]
    lines.append(f"  {broken.violation.told}")
    lines.extend(
        f"  power cut {number} at operation {cut.operation}, {cut.told}; survivors {cut.survivors}"
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
                        {"operation": cut.operation, "name": cut.told, "survivors": cut.survivors}
                        for cut in broken.chain
                    ],
                }
                for broken in one.broken
            ],
            "seconds": round(one.duration_s, 1),
        }
        for one in results
    ]
    return json.dumps({"configurations": rows, "seconds": round(duration_s, 1)}, indent=2)
