"""`lockgate-fleet notify`: tell the devices to look again."""

import argparse

from agent.errors import ConfigError
from agent.notice import SPREAD_S_MAX
from fleet.commands.signing import print_json
from fleet.enrol import check_name
from fleet.notify import notify
from fleet.workspace import Workspace


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("notify", help="tell the devices to look again")
    parser.add_argument("--device", help="only this one")
    parser.add_argument(
        "--spread",
        type=int,
        default=0,
        metavar="SECONDS",
        help="each device waits for its own share of this time",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, workspace: Workspace) -> int:
    """Leave the notice at the broker."""
    if not 0 <= options.spread <= SPREAD_S_MAX:
        raise ConfigError(
            f"--spread: 0 to {SPREAD_S_MAX} seconds were expected, {options.spread} found"
        )
    if options.device is not None:
        check_name(options.device)
    notify(workspace, spread_s=options.spread, device=options.device)
    if options.json:
        print_json({"device": options.device or "", "spread_s": options.spread})
    else:
        print(f"the broker keeps a notice for {options.device or 'every device'}")
    return 0
