"""`lockgate-sim explore`: every power cut in every recovery, until nothing new appears."""

import argparse
import sys
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from agent.errors import ConfigError
from simulator.explore.page import write_page
from simulator.explore.result import Result
from simulator.explore.scenario import Scenario
from simulator.explore.sweep import Configuration, configurations, different_boards, sweep
from simulator.explore.table import Bulletin, document, print_table
from simulator.profiles import load_profile

OK: Final = 0
WRONG: Final = 1
PROCESSES: Final = 2
WIDTH: Final = 120


def add_explore(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "explore", help="cut the power at every operation, in every recovery, until nothing is new"
    )
    parser.add_argument(
        "--board",
        action="append",
        metavar="BOARD",
        help="a board profile's name or file, again for more (default: one of each kind)",
    )
    parser.add_argument(
        "--scenario",
        action="append",
        type=Scenario,
        choices=list(Scenario),
        help="again for more (default: all)",
    )
    parser.add_argument(
        "--processes", type=int, default=PROCESSES, help="side by side (default: 2)"
    )
    parser.add_argument(
        "--audit",
        type=int,
        default=0,
        metavar="N",
        help="run N of the merged states of each configuration again, and compare (default: 0)",
    )
    parser.add_argument(
        "--every-word",
        action="store_true",
        help="take a chip's own power at every write to it, not only where something durable changes",
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page on which to cut the power by hand"
    )
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    parser.set_defaults(run=_explore)


def _explore(options: argparse.Namespace) -> int:
    chosen = configurations(
        options.board or different_boards(),
        options.scenario or (),
        audit=options.audit,
        every_word=options.every_word,
    )
    if options.html:
        _check_page(options.html)
    began_s = time.monotonic()
    console = Console(stderr=options.json, width=None if sys.stdout.isatty() else WIDTH)
    with Bulletin(console, len(chosen)) as bulletin:
        found = list(sweep(chosen, options.processes, bulletin.tell))
    results = _in_order(chosen, found)
    duration_s = time.monotonic() - began_s
    if options.json:
        print(document(results, duration_s))  # noqa: T201  # the command line is where printing happens
    else:
        print_table(console, results, duration_s)
    if options.html:
        write_page(options.html, chosen)
    return OK if results and all(result.good for result in results) else WRONG


def _check_page(path: Path) -> None:
    """Raise `ConfigError` before the work for a page that could not be written after it."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError(f"--html: a file in a folder that is there was expected, {path} found")


def _in_order(chosen: list[Configuration], results: list[Result]) -> list[Result]:
    scenarios = list(Scenario)
    boards = list(dict.fromkeys(load_profile(one.board).name for one in chosen))
    return sorted(
        results, key=lambda one: (boards.index(one.board), scenarios.index(Scenario(one.scenario)))
    )
