"""`lockgate-sim storm`: one seed with its trace, a range of seeds, or as many as fit into some minutes."""

import argparse
import json
import re
import sys
from typing import Final

from agent.errors import ConfigError
from simulator.profiles import profile_names
from simulator.storm.many import Figures, Task, processes_here, run_many, tasks_of
from simulator.storm.storm import Storm, run_storm

OK: Final = 0
WRONG: Final = 1
RANGE: Final = re.compile(r"(\d{1,12})-(\d{1,12})")
SEEDS_MAX: Final = 10_000_000
TELL_EVERY_S: Final = 60.0


def add_storm(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "storm", help="whole worlds from seeds: faults together, then rest"
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, metavar="N", help="one seed, with its trace")
    which.add_argument("--seeds", metavar="A-B", help="all seeds from A to B")
    which.add_argument("--minutes", type=float, metavar="M", help="seeds from --first on, so long")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="with --minutes")
    parser.add_argument(
        "--board",
        action="append",
        default=[],
        metavar="NAME",
        help="a board profile; may stand several times (default: all, in turn)",
    )
    parser.add_argument(
        "--processes", type=int, default=processes_here(), help="default: one for each processor"
    )
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Exit status 1 when anything was violated."""
    if options.seed is not None:
        boards = options.board or profile_names()
        (task,) = tasks_of([options.seed], boards)
        return _show(run_storm(task.seed, task.board), as_json=options.json)
    until_s = None if options.minutes is None else options.minutes * 60
    figures = run_many(
        _tasks(options), processes=max(1, options.processes), until_s=until_s, tell=_Teller()
    )
    for failure in figures.failures if not options.json else []:
        print(f"{failure.trace}\n{failure.replay}")
        print("\n".join(f"  {violation}" for violation in failure.violations))
    print(json.dumps(figures.document(), indent=2))
    return WRONG if figures.failures else OK


def _tasks(options: argparse.Namespace) -> list[Task]:
    if options.minutes is not None:
        return tasks_of(range(options.first, options.first + SEEDS_MAX), options.board)
    found = RANGE.fullmatch(options.seeds)
    if found is None or int(found[1]) > int(found[2]):
        raise ConfigError(f"--seeds: A-B with A not above B was expected, {options.seeds!r} found")
    first, last = int(found[1]), int(found[2])
    if last - first >= SEEDS_MAX:
        raise ConfigError(f"--seeds: at most {SEEDS_MAX} seeds at once were expected")
    return tasks_of(range(first, last + 1), options.board)


def _show(storm: Storm, *, as_json: bool) -> int:
    summary = {
        "seed": storm.seed,
        "board": storm.board,
        "devices": storm.devices,
        "boots": storm.boots,
        "power_cuts": storm.cuts,
        "faults": storm.faults,
        "endings": dict(storm.endings),
        "trace_sha256": storm.digest,
        "violations": list(storm.violations),
    }
    if not as_json:
        print(storm.trace)
    print(json.dumps(summary, indent=2))
    return WRONG if storm.violations else OK


class _Teller:
    """Each seed that failed at once, and a line a minute on how far it is."""

    def __init__(self) -> None:
        self._told_s = 0.0
        self._failures = 0

    def __call__(self, figures: Figures) -> None:
        for failure in figures.failures[self._failures :]:
            print(f"{failure.replay}: {'; '.join(failure.violations)[:500]}", file=sys.stderr)
        self._failures = len(figures.failures)
        if figures.wall_s - self._told_s >= TELL_EVERY_S:
            self._told_s = figures.wall_s
            print(
                f"{figures.seeds} seeds, {len(figures.failures)} failed, {figures.wall_s:.0f} s",
                file=sys.stderr,
                flush=True,
            )
