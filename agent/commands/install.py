"""`lockgate install`: take the update that is signed for this device now, without waiting for its phase."""

import argparse
from typing import Final

from agent.bookkeeping import consented
from agent.commands import outlook
from agent.commands.by_hand import REBOOT_DUE, ByHand, is_terminal, refuse_trial
from agent.commands.outlook import NOTHING_TO_DO
from agent.commands.output import show
from agent.commands.setup import RunningService, alone_or_asked, read_setup
from agent.device import Device
from agent.errors import BusyError
from agent.linux.world import local_world
from agent.policy import Proceed, decide
from agent.request import Request, Verb
from agent.update import State

SETTLED: Final = (State.ACCEPTED, State.PLANNED, State.INSTALLED, State.SWITCHED)


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("install", help="take the update that is signed for this device")
    parser.add_argument(
        "--reboot",
        choices=("yes", "no"),
        default="yes",
        help="no: stop when the standby slot is whole, exit status 4 (without the service only)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print what would be fetched and where it would be written; change nothing",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Install; only a signed rollout for this device can be installed, its phase and window aside."""
    if options.dry_run:
        return _dry_run(options)
    return alone_or_asked(
        options,
        lambda device: _alone(options, device),
        lambda service: _asked(options, service),
    )


def _dry_run(options: argparse.Namespace) -> int:
    setup = read_setup(options)
    device = outlook.without_traces(setup.open(local_world(setup.config)))
    view = outlook.look(device, hurry=True)
    show(options, outlook.document(device, view), outlook.lines(device, view))
    return view.exit_status


def _asked(options: argparse.Namespace, service: RunningService) -> int:
    if options.reboot == "no":
        raise BusyError(
            "without the service was expected: it runs, and reboots when the standby slot is whole; "
            "stop it first, or leave --reboot no away"
        )
    service.ask(Request(Verb.INSTALL))
    told = "the running service installs now; `lockgate status` shows how far it is"
    show(options, {"asked": "install"}, [told])
    return 0


def _alone(options: argparse.Namespace, device: Device) -> int:
    hand = ByHand(device, draw=is_terminal() and not options.json)
    update = hand.begin()
    if update is not None and update.state not in SETTLED:
        raise refuse_trial(update)
    hand.runner.record(consented(hand.runner.journal))
    if update is None:
        reasons = _accept(device, hand)
        if reasons:
            told = [{"rollout": rollout, "sentence": sentence} for rollout, sentence in reasons]
            document = {"outcome": "nothing", "reasons": told}
            words = [": ".join(filter(None, reason)) for reason in reasons]
            show(options, document, ["there is nothing to install", *words])
            return NOTHING_TO_DO
    hand.install()
    result = hand.finish(reboot=options.reboot == "yes")
    words = [result.line()]
    if result.exit_status == REBOOT_DUE:
        words.append("nothing was switched yet: the running slot stays the default")
    show(options, {**result.document(), "reasons": []}, words)
    return result.exit_status


def _accept(device: Device, hand: ByHand) -> list[tuple[str, str]]:
    """Accept what is open; otherwise the reasons why nothing is."""
    with device.session() as session:
        facts = device.policy_facts(hand.runner.journal, hurry=True)
        decision = decide(session.rollouts(), session.halts(), facts, device.now())
    if not isinstance(decision, Proceed):
        return [(reason.rollout, reason.sentence) for reason in decision.reasons]
    hand.runner.accept(decision.rollout, consented=True)
    return []
