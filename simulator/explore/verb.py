"""`lockgate-sim explore`: every power cut in every recovery, until nothing new appears."""

import argparse
import sys
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from simulator.explore.page import write_page
from simulator.explore.scenario import Scenario
from simulator.explore.search import Result
from simulator.explore.sweep import Configuration, configurations, different_boards, sweep
from simulator.explore.table import Bulletin, document, print_table

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
        "--html", type=Path, metavar="FILE", help="write a page on which to cut the power by hand"
    )
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    parser.set_defaults(run=_explore)


def _explore(options: argparse.Namespace) -> int:
    chosen = configurations(options.board or different_boards(), options.scenario or list(Scenario))
    began_s = time.monotonic()
    console = Console(stderr=options.json, width=None if sys.stdout.isatty() else WIDTH)
    with Bulletin(console) as bulletin:
        found = list(sweep(chosen, options.processes, bulletin.tell))
    results = _in_order(chosen, found)
    duration_s = time.monotonic() - began_s
    if options.json:
        print(document(results, duration_s))  # noqa: T201  # the command line is where printing happens
    else:
        print_table(console, results, duration_s)
    if options.html:
        write_page(options.html, chosen)
    return OK if all(result.good for result in results) else WRONG


def _in_order(chosen: list[Configuration], results: list[Result]) -> list[Result]:
    order = [one.scenario.value for one in chosen]
    return sorted(results, key=lambda one: (one.board, order.index(one.scenario)))
