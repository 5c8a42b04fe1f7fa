"""What is said of performance is what was measured, and measuring itself is right."""

import sys
from pathlib import Path

import pytest

from benchmarks.measure import StepFailedError, run
from benchmarks.report import DOCUMENT, rendered
from benchmarks.rows import Results, Row, median_of

SPENDS = "sum(range(3_000_000)); x = b'x' * (64 << 20); import time; time.sleep(0.3)"
STARTS = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPENDS!r}], check=True)"


def test_the_document_says_what_was_measured() -> None:
    text = DOCUMENT.read_text()
    assert rendered(text) == text, "run python -m benchmarks.report"


@pytest.mark.parametrize("program", [SPENDS, STARTS])
def test_a_program_and_what_it_starts_are_measured_together(program: str) -> None:
    cost = run((sys.executable, "-c", program))
    assert 0.02 < cost.cpu_s < 20
    assert cost.wall_s > 0.3
    assert 64 < cost.anonymous_mib < cost.peak_mib < 200


def test_a_program_that_fails_is_no_measurement() -> None:
    with pytest.raises(StepFailedError, match="too bad"):
        run((sys.executable, "-c", "import sys; sys.exit('too bad')"))


def test_of_several_runs_the_median_time_and_the_largest_size_count() -> None:
    found = [
        Row("full", "p", "t", cpu_s=cpu, wall_s=9, peak_mib=peak)
        for cpu, peak in ((1, 5), (9, 7), (2, 6))
    ]
    row = median_of(found)
    assert (row.cpu_s, row.peak_mib, row.runs) == (2, 7, 3)


def test_results_of_two_runs_at_a_time_are_both_kept(tmp_path: Path) -> None:
    one, other = (Results(tmp_path / "r.json").load() for _ in range(2))
    one.put(Row("full", "p", "a", cpu_s=1))
    other.put(Row("full", "p", "b", cpu_s=1))
    other.put(Row("full", "p", "b", cpu_s=2))
    kept = Results(tmp_path / "r.json").load().rows
    assert [(row.tool, row.cpu_s) for row in kept] == [("a", 1), ("b", 2)]
