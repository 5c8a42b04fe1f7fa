"""`lockgate revert`: go back to the slot that ran before, out of a trial or from a confirmed release."""

import argparse

from agent.commands import outlook
from agent.commands.by_hand import ByHand, unexamined
from agent.commands.output import show
from agent.commands.setup import RunningService, alone_or_asked
from agent.device import Device
from agent.errors import RefusedError
from agent.health import Verdict
from agent.linux.world import local_world
from agent.request import Request, Verb
from agent.update import State, Update


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("revert", help="go back to the release that ran before")
    parser.add_argument(
        "--reboot",
        choices=("yes", "no"),
        default="yes",
        help="no: prepare it and exit with status 4 (without the service only)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Leave the trial; or, when none runs, begin a trial of the slot that ran before."""
    return alone_or_asked(
        options,
        lambda device: _alone(options, device),
        lambda service: _asked(options, service),
    )


def _alone(options: argparse.Namespace, device: Device) -> int:
    verdict = Verdict(healthy=False, detail="refused by someone at the device")
    hand = ByHand(unexamined(device), draw=False, verdict=verdict)
    update = hand.begin()
    _refuse_in_between(update)
    if update is None:
        hand.runner.go_back()
    elif update.state is State.TRIAL:
        hand.runner.step()
    result = hand.finish(reboot=options.reboot == "yes")
    show(options, result.document(), [result.line()])
    return result.exit_status


def _asked(options: argparse.Namespace, service: RunningService) -> int:
    if options.reboot == "no":
        raise RefusedError("the service runs and reboots by itself; stop it first for --reboot no")
    device = service.setup.open(local_world(service.setup.config))
    rehearsal = ByHand(outlook.without_traces(device), draw=False)
    update = rehearsal.begin()
    _refuse_in_between(update)
    if update is None:
        rehearsal.runner.go_back()  # says here and now when there is nothing to go back to
    service.ask(Request(Verb.REVERT))
    show(options, {"asked": "revert"}, ["the running service goes back, and reboots for it"])
    return 0


def _refuse_in_between(update: Update | None) -> None:
    """An update from a rollout is past its start and before its trial: it is halted, not reverted."""
    if update is None or not update.rollout:  # our own way back, begun earlier
        return
    if update.state not in (State.TRIAL, State.UNHEALTHY):
        raise RefusedError(
            f"a settled device or a trial was expected, release {update.release} is {update.state}; "
            "wait for its trial, or halt the rollout"
        )
