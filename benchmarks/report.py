"""Writes what was measured into `docs/performance.md`, between marks, and draws `docs/growth.svg`.

python -m benchmarks.report
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks import encoders, growth
from benchmarks.rows import FOLDER, Results, Row

ROOT: Final = Path(__file__).parents[1]
DOCUMENT: Final = ROOT / "docs/performance.md"
DRAWING: Final = ROOT / "docs/growth.svg"
MARK: Final = re.compile(r"(<!-- measured: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
FIRST: Final = ("release.ext4", "hotfix.ext4", "kernel.ext4")
MIB: Final = 1024 * 1024


def table(heads: list[str], lines: list[list[str]]) -> str:
    """A table in Markdown."""
    rows = [heads, ["---"] * len(heads), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _pairs(results: Results) -> list[str]:
    """The pairs that were encoded, those that most is asked of first."""
    names = dict.fromkeys(row.pair for row in results.rows if row.section == "encode")
    return sorted(
        names, key=lambda name: (name not in FIRST, FIRST.index(name) if name in FIRST else 0)
    )


def _number(value: float | None, places: int = 1) -> str:
    return "" if value is None else f"{value:,.{places}f}"


def _ratio(ours: float | None, theirs: float | None) -> str:
    return f"{ours / theirs:.3f}" if ours and theirs else ""


def fetched(results: Results) -> str:
    """What travels for each pair and tool: bytes, and ours in parts of it."""
    lines = []
    for pair in _pairs(results):
        own = results.find("encode", pair, encoders.DELTA)
        if own is None:
            continue
        for row in [own, *_others(results, pair)]:
            length = row.length_bytes
            lines.append([pair, row.tool, f"{length:,}", _ratio(own.length_bytes, length)])
    return table(["pair", "tool", "bytes", "ours in parts of it"], lines)


def _others(results: Results, pair: str) -> list[Row]:
    """The rows of other tools that say how many bytes travel: of a patch, or from the server."""
    made = [row for row in results.of("encode", pair) if row.tool != encoders.DELTA]
    sent = [row for row in results.of("delta", pair) if row.tool != "lockgate"]
    found = [row for row in (*made, *sent) if row.length_bytes is not None]
    return sorted(found, key=lambda row: row.length_bytes or 0)


def installed(section: str) -> Callable[[Results], str]:
    """What the device pays, beside others, and ours in parts of theirs."""

    def rendered(results: Results) -> str:
        lines = []
        for pair in _pairs(results):
            own = results.find(section, pair, "lockgate")
            for row in results.of(section, pair) if own is not None else []:
                share = (
                    [_ratio(own.cpu_s, row.cpu_s), _ratio(own.wall_s, row.wall_s)] if own else []
                )
                cost = [_number(row.cpu_s, 2), _number(row.wall_s), _number(row.peak_mib)]
                anonymous = _number(row.anonymous_mib)
                lines.append([pair, row.tool, *cost, anonymous, *share, str(row.runs)])
        heads = ["pair", "tool", "CPU s", "wall s", "peak MiB", "of it anonymous"]
        return table([*heads, "our CPU in parts of it", "our wall", "runs"], lines)

    return rendered


def published(results: Results) -> str:
    """What the publisher pays for each pair and tool."""
    lines = [
        [
            row.pair,
            row.tool,
            _number(row.cpu_s),
            _number(row.peak_mib, 0),
            _number(row.anonymous_mib, 0),
        ]
        for row in results.rows
        if row.section == "encode"
    ]
    return table(["pair", "tool", "CPU s", "peak MiB", "of it anonymous"], lines)


def grown(results: Results) -> str:
    """Cost by size and by share, one line for each point."""
    lines = []
    for size_mib, share in growth.points():
        rows = {
            row.tool: row for row in results.of(growth.SECTION, growth.name_of(size_mib, share))
        }
        if rows:
            first = next(iter(rows.values()))
            cells = [f"{size_mib}", f"{(first.changed_bytes or 0) / MIB:.1f}"]
            for tool in growth.TOOLS:
                row = rows.get(tool)
                cells += [_number(row.cpu_s, 2), _number(row.peak_mib, 0)] if row else ["", ""]
            lines.append(cells)
    heads = [f"{tool}: {unit}" for tool in growth.TOOLS for unit in ("CPU s", "MiB")]
    return table(["image MiB", "changed MiB", *heads], lines)


def sparse(results: Results) -> str:
    """What the installation of a sparse image of 4 GiB takes."""
    lines = [
        [row.pair, f"{row.length_bytes or 0:,}", _number(row.cpu_s, 2), _number(row.peak_mib)]
        for row in results.rows
        if row.section == growth.SPARSE
    ]
    return table(["sparse image", "bytes fetched", "CPU s", "peak MiB"], lines)


def slopes(results: Results) -> str:
    """The straight lines through the points of one share, and how far the points are off."""
    lines = []
    for tool, line in growth.fits(results).items():
        per_gib, start, off = line
        lines.append([tool, f"{per_gib:.2f}", f"{start:.2f}", f"{off:.0%}"])
    heads = ["", "CPU s for each GiB", "CPU s to begin with", "largest distance of a point"]
    return table(heads, lines)


def machine(results: Results) -> str:
    """What it was measured on."""
    if not results.path.exists():
        return "Nothing was measured yet.\n"
    found = json.loads(results.path.read_text())["machine"]
    return (
        f"Measured on {found['processors']} processors of an {found['processor']}, Linux "
        f"{found['kernel']}, Python {found['python']}.\n"
    )


def profiled(results: Results) -> str:
    """Where the processor time of an installation goes."""
    rows = [row for row in results.rows if row.section == "profile"]
    kinds = sorted({row.pair for row in rows}, reverse=True)
    names = dict.fromkeys(row.tool for row in rows)
    lines = []
    for name in names:
        cells = [results.find("profile", kind, name) for kind in kinds]
        lines.append([name, *(_number(one.cpu_s if one else None, 2) for one in cells)])
    return table(["CPU s", *kinds], lines)


BLOCKS: Final[dict[str, tuple[str, Callable[[Results], str]]]] = {
    "machine": ("debian", machine),
    "bytes": ("debian", fetched),
    "full": ("debian", installed("full")),
    "delta": ("debian", installed("delta")),
    "publisher": ("debian", published),
    "profile": ("debian", profiled),
    "growth": ("growth", grown),
    "slopes": ("growth", slopes),
    "sparse": ("growth", sparse),
}


def rendered(text: str, folder: Path = FOLDER) -> str:
    """The document with what is in the results."""

    def block(match: re.Match[str]) -> str:
        name, make = BLOCKS[match[2]]
        return f"{match[1]}\n{make(Results(folder / f'{name}.json').load())}\n{match[3]}"

    return MARK.sub(block, text)


def shown(results: Results) -> str:
    """The tables that compare, for a terminal."""
    blocks = ("bytes", "full", "delta")
    return "\n".join(f"{name}\n\n{BLOCKS[name][1](results)}" for name in blocks)


def main() -> None:
    """Write both files."""
    DOCUMENT.write_text(rendered(DOCUMENT.read_text()))
    growth.draw(Results(FOLDER / "growth.json").load(), DRAWING)


if __name__ == "__main__":
    main()
