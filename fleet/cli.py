"""`lockgate-fleet`: parses, calls one command, prints its errors; each command is a module of its own."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from agent.errors import UpdateError
from fleet.workspace import Workspace

COMMANDS: Final = (
    "init",
    "key",
    "release",
    "rollout",
    "sign",
    "publish",
    "enrol",
    "notify",
    "collect",
    "devices",
    "serve",
)
"""Modules of `fleet.commands`; each has `add(subparsers)`, which sets `run` on its parser."""

Run = Callable[[argparse.Namespace, Workspace], int]


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, for the program and for the documentation's test."""
    parser = argparse.ArgumentParser(
        prog="lockgate-fleet", description="Sign, publish, roll out and watch firmware releases."
    )
    parser.add_argument(
        "--dir", type=Path, default=Path(), help="the fleet's folder (default: here)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        import_module(f"fleet.commands.{name}").add(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is that of `docs/exit-codes.md`."""
    options = build_parser().parse_args(arguments)
    run: Run = options.run
    try:
        return run(options, Workspace(options.dir))
    except UpdateError as error:
        print(f"lockgate-fleet: {error.code}: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
