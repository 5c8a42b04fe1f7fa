"""`lockgate history`: the updates that ended on this device, and how."""

import argparse

from agent import journal as journals
from agent.commands.output import show
from agent.commands.settings import read_config
from agent.commands.status import past_words
from agent.errors import StateError
from agent.linux.world import local_world
from agent.strict import format_time


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("history", help="the updates that ended here, oldest first")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print them, oldest first."""
    config = read_config(options.config)
    journal = journals.load(local_world(config).files)
    if journal is None:
        raise StateError(
            f"{config.paths.state}/{journals.FILE}: a journal was expected, something else found; "
            "the service sets it aside when it starts"
        )
    past = journal.history
    document = {
        "updates": [
            {
                "release": one.release,
                "counter": one.counter,
                "rollout": one.rollout,
                "reissue": one.reissue,
                "outcome": one.state.value,
                "code": one.code,
                "detail": one.detail,
                "at": format_time(one.at),
            }
            for one in past
        ]
    }
    show(options, document, [past_words(one) for one in past] or ["no update has ended here yet"])
    return 0
