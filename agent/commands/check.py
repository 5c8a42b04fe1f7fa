"""`lockgate check`: look again now, and say what this device would do and why."""

import argparse
import time
from typing import Final

from agent.commands import outlook
from agent.commands.output import show
from agent.commands.setup import RunningService, alone_or_asked
from agent.device import Device
from agent.errors import BusyError
from agent.linux.world import local_world
from agent.request import FILE, Request, Verb

TAKEN_WITHIN_S: Final = 120.0
POLL_S: Final = 0.1


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("check", help="look for an update now, and say why or why not")
    parser.add_argument(
        "--wait",
        action="store_true",
        help="with a running service: wait until it looked, and print the decision",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Look; changes nothing but the trusted metadata and the floor."""

    def alone(device: Device) -> int:
        return _print(options, device)

    def asked(service: RunningService) -> int:
        service.ask(Request(Verb.CHECK))
        if not options.wait:
            told = "the running service looks now; `lockgate status` shows what comes of it"
            show(options, {"asked": "check"}, [told])
            return 0
        device = service.setup.open(local_world(service.setup.config))
        wait_until_taken(device)
        return _print(options, outlook.without_traces(device))

    return alone_or_asked(options, alone, asked)


def wait_until_taken(device: Device) -> None:
    """Return when the service has read the request. Raises `BusyError` when it does not get to it."""
    deadline_s = time.monotonic() + TAKEN_WITHIN_S
    while time.monotonic() < deadline_s:
        if device.world.files.read(FILE) is None:
            return
        time.sleep(POLL_S)
    raise BusyError(
        f"the service was expected to take the request within {TAKEN_WITHIN_S:.0f} s; it is busy "
        "with an update, see `lockgate status`"
    )


def _print(options: argparse.Namespace, device: Device) -> int:
    view = outlook.look(device, hurry=False)
    show(options, outlook.document(device, view), outlook.lines(device, view))
    return view.exit_status
