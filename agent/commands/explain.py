"""`lockgate explain`: why this device updates or does not; or what a code means and what to do."""

import argparse

from agent.commands import outlook
from agent.commands.explanations import Explanation, explanations, find
from agent.commands.output import rows, show
from agent.commands.setup import read_setup
from agent.errors import RefusedError
from agent.linux.world import local_world


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "explain", help="why this device updates or does not, or what a code means"
    )
    parser.add_argument("code", nargs="?", help="a code such as trust-expired, or an exit status")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the reasons of a fresh decision, which changes nothing; or a code's meaning."""
    if options.code is not None:
        return _code(options)
    setup = read_setup(options)
    device = outlook.without_traces(setup.open(local_world(setup.config)))
    view = outlook.look(device, hurry=False)
    show(options, outlook.document(device, view), outlook.lines(device, view))
    return 0


def _code(options: argparse.Namespace) -> int:
    found = find(options.code)
    if not found:
        known = ", ".join(one.code for one in explanations())
        raise RefusedError(
            f"a code or an exit status was expected, {options.code!r} found: {known}"
        )
    document = {
        "codes": [
            {
                "code": one.code,
                "exit_status": one.exit_status,
                "retry": one.retry,
                "meaning": one.meaning,
                "next": one.next_step,
            }
            for one in found
        ]
    }
    lines: list[str] = []
    for one in found:
        lines += ["", *_lines(one)] if lines else _lines(one)
    show(options, document, lines)
    return 0


def _lines(one: Explanation) -> list[str]:
    return rows(
        (
            ("code", one.code),
            ("exit status", "" if one.exit_status is None else str(one.exit_status)),
            ("meaning", one.meaning),
            ("tried again", one.retry),
            ("next step", one.next_step),
        )
    )
