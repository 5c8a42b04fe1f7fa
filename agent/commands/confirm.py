"""`lockgate confirm`: someone at the device says that the trial is good."""

import argparse

from agent.commands import outlook
from agent.commands.by_hand import ByHand, unexamined
from agent.commands.outlook import NOTHING_TO_DO
from agent.commands.output import show
from agent.commands.setup import RunningService, alone_or_asked
from agent.device import Device
from agent.health import Verdict
from agent.linux.world import local_world
from agent.request import Request, Verb
from agent.update import State


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("confirm", help="keep the release that is on trial")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make the trial slot the default, whatever the health checks say."""
    return alone_or_asked(
        options,
        lambda device: _alone(options, device),
        lambda service: _asked(options, service),
    )


def _alone(options: argparse.Namespace, device: Device) -> int:
    verdict = Verdict(healthy=True, detail="confirmed by someone at the device")
    hand = ByHand(unexamined(device), draw=False, verdict=verdict)
    hand.begin()
    if hand.trial() is None:
        return _no_trial(options)
    hand.runner.step()
    result = hand.finish(reboot=False)
    show(options, result.document(), [result.line()])
    return result.exit_status


def _asked(options: argparse.Namespace, service: RunningService) -> int:
    device = service.setup.open(local_world(service.setup.config))
    update = outlook.load_journal(device).update
    if update is None or update.state is not State.TRIAL:
        return _no_trial(options)
    service.ask(Request(Verb.CONFIRM))
    show(options, {"asked": "confirm"}, [f"the running service confirms release {update.release}"])
    return 0


def _no_trial(options: argparse.Namespace) -> int:
    show(options, {"outcome": "nothing"}, ["there is no trial to confirm"])
    return NOTHING_TO_DO
