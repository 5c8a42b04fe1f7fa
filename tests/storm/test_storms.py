import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.profiles import profile_names
from simulator.storm.many import run_many, tasks_of
from simulator.storm.storm import run_storm
from tests.storm.mutants import MUTANTS

SEEDS = 250  # the first; `make storm` goes on from there
SHARE = 125
MUTANT_SEEDS = 300
KEPT = Path(__file__).parent / "seeds.txt"
PRINT_DIGEST = (
    "import sys; from simulator.storm.storm import run_storm;"
    "print(run_storm(int(sys.argv[1]), sys.argv[2]).digest)"
)


def kept_seeds() -> list[tuple[int, str]]:
    rows = [row.split() for row in KEPT.read_text().splitlines() if row and row[0] != "#"]
    return [(int(row[0]), row[1]) for row in rows]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", range(0, SEEDS, SHARE))
def test_storms_end_in_rest_with_nothing_lost_and_nothing_bricked(first: int) -> None:
    figures = run_many(tasks_of(range(first, first + SHARE), []))
    assert figures.seeds == SHARE
    told = [f"{one.trace}\n{one.replay}\n{one.violations}" for one in figures.failures[:3]]
    assert not told, "\n".join(told)
    assert figures.cuts > SHARE / 2
    assert figures.faults > SHARE


def test_many_processes_find_what_one_finds() -> None:
    tasks = tasks_of(range(12), [])
    one, two = run_many(tasks), run_many(tasks, processes=2)
    assert (one.operations, one.boots, one.endings) == (two.operations, two.boots, two.endings)


@pytest.mark.timeout(600)
def test_seeds_that_once_failed_never_fail_again() -> None:
    for seed, board in kept_seeds():
        storm = run_storm(seed, board)
        assert not storm.violations, f"{storm.trace}\n{storm.replay}\n{storm.violations}"


@pytest.mark.parametrize("board", profile_names())
@pytest.mark.parametrize("seed", [4, 16, 43])
def test_a_seed_is_the_same_bytes_in_every_run(seed: int, board: str) -> None:
    assert run_storm(seed, board).trace == run_storm(seed, board).trace


@pytest.mark.parametrize("hash_seed", ["1", "4242"])
def test_a_seed_is_the_same_bytes_in_another_process(hash_seed: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", PRINT_DIGEST, "43", "rpi4-tryboot"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert found.stdout.strip() == run_storm(43, "rpi4-tryboot").digest


@pytest.mark.timeout(600)
@pytest.mark.parametrize("lost", MUTANTS)
def test_storms_notice_an_agent_that(lost: str) -> None:
    tasks = tasks_of(range(MUTANT_SEEDS), [])
    found = (run_storm(task.seed, task.board, MUTANTS[lost]).violations for task in tasks)
    assert any(found), f"{MUTANT_SEEDS} seeds did not notice an agent that {lost}"
