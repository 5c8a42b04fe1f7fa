"""`lockgate`: parses, calls one verb, prints its errors; each verb is a module of `agent/commands`."""

import gc
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final, cast

from agent.commands.output import print_error
from agent.errors import UpdateError
from agent.version import VERSION

if TYPE_CHECKING:  # see `_options`
    import argparse

COMMANDS: Final = (
    "run",
    "courier",
    "agent",
    "status",
    "check",
    "install",
    "confirm",
    "revert",
    "defer",
    "explain",
    "history",
    "doctor",
    "identity",
)
"""Modules of `agent.commands`; each has `add(subparsers)`, which sets `run` on its parser."""
CONFIG: Final = "/etc/lockgate/agent.toml"
INTERRUPTED: Final = 130

Run = Callable[["argparse.Namespace"], int]


def build_parser(verbs: Sequence[str] = COMMANDS) -> "argparse.ArgumentParser":
    """The whole command line, or the part of it that a run needs: loading the others takes time."""
    import argparse  # noqa: PLC0415  # see `_options`

    parser = argparse.ArgumentParser(
        prog="lockgate",
        description="Firmware updates for this device, undone by themselves when they fail.",
        epilog="exit status: 0 done, 3 nothing to do, 4 a reboot is due; "
        "`lockgate explain CODE` says what any other means",
    )
    parser.add_argument("--version", action="version", version=f"lockgate {VERSION}")
    parser.add_argument("--config", default=CONFIG, metavar="FILE", help=f"default: {CONFIG}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name in verbs:
        import_module(f"agent.commands.{name}").add(subparsers)
    for verb in subparsers.choices.values():  # wherever people type it
        verb.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object"
        )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the exit status is that of `docs/exit-codes.md`."""
    if arguments is not None:
        return _run(arguments)
    status = _run(sys.argv[1:])
    gc.freeze()  # all that was loaded goes with the process; looking through it first takes a while
    return status


def _run(words: Sequence[str]) -> int:
    options = _options(words)
    run: Run = options.run
    try:
        status = run(options)
        sys.stdout.flush()
    except UpdateError as error:
        print_error(options, error)
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        _close_output()
        print(f"lockgate: error: the output cannot be written: {error}", file=sys.stderr)
        return UpdateError.exit_status
    return status


def _options(words: Sequence[str]) -> "argparse.Namespace":
    """What these words ask for.

    What starts the agent for each notice says no more than the first two, and a parser that understands
    more would be a tenth of what that costs.
    """
    match words:
        case ["agent"]:
            return _agent(CONFIG)
        case ["--config", path, "agent"] if not path.startswith("-"):
            return _agent(path)
        case _:
            return build_parser(_needed(words)).parse_args(words)


def _agent(config: str) -> "argparse.Namespace":
    from agent.commands.agent import run  # noqa: PLC0415  # as all verbs are

    return cast("argparse.Namespace", SimpleNamespace(config=config, json=False, run=run))


def _needed(words: Sequence[str]) -> Sequence[str]:
    """The verb alone where it is plain to see, because loading the others takes time; else all."""
    rest = iter(words)
    for word in rest:
        if word == "--config":
            next(rest, None)
        elif not word.startswith("-"):
            return (word,) if word in COMMANDS else COMMANDS
    return COMMANDS


def _close_output() -> None:
    """Let the interpreter end without trying once more to write what nobody takes."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
