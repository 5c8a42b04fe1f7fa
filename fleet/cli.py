"""`lockgate-fleet`: parses, calls one command, prints its errors; each command is a module of its own."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Final

from agent.errors import ConfigError, StateError, UpdateError
from agent.strict import encode_json
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
ERROR_SCHEMA: Final = 1
INTERRUPTED: Final = 130

Run = Callable[[argparse.Namespace, Workspace], int]


class Parser(argparse.ArgumentParser):
    """Takes `--dir` and `--json` wherever people type them: the parsers of its commands are such, too."""

    def __init__(
        self,
        *,
        prog: str | None = None,
        description: str | None = None,
        epilog: str | None = None,
    ) -> None:
        super().__init__(prog=prog, description=description, epilog=epilog)
        self.add_argument(
            "--dir",
            type=Path,
            default=argparse.SUPPRESS,
            help="the fleet's folder (default: here)",
        )
        self.add_argument(
            "--json",
            action="store_true",
            default=argparse.SUPPRESS,
            help="print JSON for machines",
        )


def build_parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The whole command line, or the part of it that a run needs: loading the others takes time."""
    parser = Parser(
        prog="lockgate-fleet",
        description="Sign, publish, roll out and watch firmware releases.",
        epilog="exit status: 0 done; docs/exit-codes.md says what any other means",
    )
    parser.add_argument(
        "--version", action="version", version=f"lockgate-fleet {version('lockgate')}"
    )
    parser.set_defaults(dir=Path(), json=False)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in commands:
        import_module(f"fleet.commands.{name}").add(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is that of `docs/exit-codes.md`."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        options = build_parser(_needed(words)).parse_args(words)
        run: Run = options.run
        status = run(options, Workspace(options.dir))
        sys.stdout.flush()
    except UpdateError as error:
        return _refused(error, as_json="--json" in words)
    except ModuleNotFoundError as error:
        return _refused(_lacking(error), as_json="--json" in words)
    except KeyboardInterrupt:
        print("lockgate-fleet: stopped; the same command again begins anew", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        if error.filename is None:
            _close_output()
        return _refused(_translated(error), as_json="--json" in words)
    return status


def _needed(words: Sequence[str]) -> Sequence[str]:
    """The command alone where it is plain to see; else all."""
    rest = iter(words)
    for word in rest:
        if word == "--dir":
            next(rest, None)
        elif not word.startswith("-"):
            return (word,) if word in COMMANDS else COMMANDS
    return COMMANDS


def _refused(error: UpdateError, *, as_json: bool) -> int:
    """Say on the standard error what went wrong: as one line, or as one JSON object."""
    if as_json:
        told = {"code": error.code, "message": str(error), "retry": error.retry.value}
        sys.stderr.write(encode_json({"schema": ERROR_SCHEMA, "error": told}).decode())
    else:
        print(f"lockgate-fleet: {error.code}: {error}", file=sys.stderr)
    return error.exit_status


def _lacking(error: ModuleNotFoundError) -> ConfigError:
    """A device has this program too, without the operator's libraries."""
    return ConfigError(
        f"the operator's libraries were expected, {error.name} is not installed; "
        "run `pip install 'lockgate[fleet]'`"
    )


def _translated(error: OSError) -> StateError:
    """What the system refused, for people: a file that no command names in a message of its own."""
    if error.filename is None:
        return StateError(f"the output cannot be written: {error.strerror}")
    return StateError(
        f"{error.filename}: {error.strerror}; a file or folder that this user may read and write was "
        "expected, and space for it"
    )


def _close_output() -> None:
    """Let the interpreter end without trying once more to write what nobody takes."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
