"""Measured figures in a JSON file: one row for each section, pair and tool; a new run replaces its rows."""

import json
import os
import platform
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.measure import Cost

FOLDER: Final = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Row:
    """What one tool did with one pair of images; None where there is nothing to tell."""

    section: str
    pair: str
    tool: str
    length_bytes: int | None = None
    requests: int | None = None
    cpu_s: float | None = None
    wall_s: float | None = None
    peak_mib: float | None = None
    anonymous_mib: float | None = None
    image_bytes: int | None = None
    changed_bytes: int | None = None
    runs: int = 1


def with_cost(row: Row, cost: Cost) -> Row:
    """The row with what one run took."""
    return replace(
        row,
        cpu_s=round(cost.cpu_s, 2),
        wall_s=round(cost.wall_s, 2),
        peak_mib=round(cost.peak_mib, 1),
        anonymous_mib=round(cost.anonymous_mib, 1),
    )


def median_of(rows: list[Row]) -> Row:
    """One row with the median of each time and the largest of each size."""
    return replace(
        rows[0],
        cpu_s=round(median(row.cpu_s or 0 for row in rows), 2),
        wall_s=round(median(row.wall_s or 0 for row in rows), 2),
        peak_mib=round(max(row.peak_mib or 0 for row in rows), 1),
        anonymous_mib=round(max(row.anonymous_mib or 0 for row in rows), 1),
        runs=len(rows),
    )


@dataclass(slots=True)
class Results:
    """The rows of one file."""

    path: Path
    rows: list[Row] = field(default_factory=list)

    def load(self) -> "Results":
        """Read what was measured before, if anything was."""
        if self.path.exists():
            self.rows = [Row(**row) for row in json.loads(self.path.read_text())["rows"]]
        return self

    def find(self, section: str, pair: str, tool: str) -> Row | None:
        """One row."""
        key = section, pair, tool
        return next((row for row in self.rows if (row.section, row.pair, row.tool) == key), None)

    def of(self, section: str, pair: str) -> list[Row]:
        """All rows of one table."""
        return [row for row in self.rows if (row.section, row.pair) == (section, pair)]

    def put(self, row: Row) -> None:
        """Take a row, in place of the one it replaces, write the file and say it.

        What another run has written meanwhile stays.
        """
        self.load()
        old = self.find(row.section, row.pair, row.tool)
        if old is None:
            self.rows.append(row)
        else:
            self.rows[self.rows.index(old)] = row
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {key: value for key, value in asdict(one).items() if value is not None}
            for one in self.rows
        ]
        content = {"machine": machine(), "rows": rows}
        self.path.write_text(json.dumps(content, indent=1) + "\n")
        print(_said(row), flush=True)


def _said(row: Row) -> str:
    sizes = f"{row.length_bytes:>13,} bytes" if row.length_bytes is not None else " " * 19
    times = f"{row.cpu_s or 0:8.2f} CPU s {row.wall_s or 0:8.2f} s {row.peak_mib or 0:8.1f} MiB"
    return f"{row.section:8} {row.pair:20} {row.tool:28} {sizes} {times}"


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.machine(),
        "processors": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
