"""`lockgate status`: what runs, what is under way and what waits; changes nothing, needs no lock."""

import argparse

from agent import journal as journals
from agent.commands.output import rows, show, size_words
from agent.commands.setup import Setup, read_setup
from agent.device import Device
from agent.errors import UpdateError
from agent.journal import Journal, Tried
from agent.linux.courier.sockets import answers
from agent.linux.wake import Waker
from agent.linux.world import fetches_path, local_world, wake_path
from agent.strict import format_time
from agent.update import State, Update

PROGRESS = {
    State.ACCEPTED: "accepted: the release is being verified and planned",
    State.PLANNED: "installing: the standby slot is being written",
    State.INSTALLED: "installed: whole on the standby slot, its trial comes next",
    State.SWITCHED: "switched: the next boot is the trial",
    State.TRIAL: "trial: the new slot runs and is being judged",
    State.UNHEALTHY: "unhealthy: the trial failed, the device goes back at its next boot",
}


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("status", help="what runs, what is under way, what waits")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print it; a part that cannot be read is named under `problems`, and is no failure."""
    setup = read_setup(options)
    problems: list[str] = []
    journal = _journal(setup, problems)
    slots = _slots(setup, journal, problems)
    deferred = journal.deferred_until
    if deferred is not None and deferred <= local_world(setup.config).clock.wall().utc:
        deferred = None
    document = {
        "device": setup.config.device.id,
        "fleet": setup.config.device.fleet,
        "service": _service(setup),
        **slots,
        "update": _update(journal.update),
        "last": _last(journal.history[-1]) if journal.history else None,
        "reports_waiting": len(journal.reports),
        "deferred_until": format_time(deferred) if deferred else "",
        "problems": problems,
    }
    show(options, document, _lines(document, journal))
    return 0


def _service(setup: Setup) -> str:
    """Who looks after this device; a courier is not asked by a datagram, which would start the agent."""
    if answers(fetches_path(setup.config)):
        return "waiting"
    return "running" if Waker.send(wake_path(setup.config)) else "stopped"


def _journal(setup: Setup, problems: list[str]) -> Journal:
    journal = None
    try:
        journal = journals.load(local_world(setup.config).files)
        if journal is None:
            problems.append("the journal cannot be read; the service sets it aside when it starts")
    except UpdateError as error:
        problems.append(f"{error.code}: {error}")
    return Journal() if journal is None else journal


def _slots(setup: Setup, journal: Journal, problems: list[str]) -> dict[str, object]:
    """What runs and what starts by default, as far as the board says it."""
    booted = default = ""
    release, counter = "", 0
    try:
        device: Device = setup.open(local_world(setup.config))
        booted = device.boot.booted()
        running = device.running(journal)
        release, counter = running.release, running.counter
        default = device.boot.default()
    except UpdateError as error:
        problems.append(f"{error.code}: {error}")
    return {"slot": booted, "default_slot": default, "release": release, "counter": counter}


def _update(update: Update | None) -> dict[str, object] | None:
    if update is None or update.finished:
        return None
    return {
        "release": update.release,
        "counter": update.counter,
        "rollout": update.rollout,
        "state": update.state.value,
        "slot": update.target,
        "attempts": update.attempts,
        "failures": update.failures,
        "length_bytes": sum(one.length_bytes for one in update.installations),
        "progress": PROGRESS[update.state],
        "held": update.held,
    }


def _last(past: Tried) -> dict[str, object]:
    return {
        "release": past.release,
        "counter": past.counter,
        "rollout": past.rollout,
        "outcome": past.state.value,
        "code": past.code,
        "detail": past.detail,
        "at": format_time(past.at),
    }


def _lines(document: dict[str, object], journal: Journal) -> list[str]:
    slot, default = document["slot"], document["default_slot"]
    trial = " on trial" if slot and default and slot != default else ""
    update = journal.update
    under_way = "none"
    if update is not None and not update.finished:
        length_bytes = sum(one.length_bytes for one in update.installations)
        size = f" ({size_words(length_bytes)})" if length_bytes else ""
        under_way = f"{update.release}{size}, {PROGRESS[update.state]}"
        if update.attempts:
            under_way += f", trial {update.attempts}"
    last = journal.history[-1] if journal.history else None
    told = rows(
        (
            ("device", f"{document['device']} of fleet {document['fleet']}"),
            ("service", str(document["service"])),
            ("runs", f"release {document['release']}, slot {slot}{trial}" if slot else "unknown"),
            ("starts by default", f"slot {default}" if default else "unknown"),
            ("update", under_way),
            ("waits", "" if update is None or update.finished else update.held),
            ("last", "" if last is None else past_words(last)),
            ("reports waiting", str(len(journal.reports))),
            ("deferred until", str(document["deferred_until"])),
        )
    )
    problems = document["problems"]
    assert isinstance(problems, list), "made above"
    return told + [f"problem  {problem}" for problem in problems]


def past_words(past: Tried) -> str:
    """An update that ended, in one line."""
    why = "" if past.code == "ok" else f": {past.code}: {past.detail}"
    return f"{format_time(past.at)}  {past.release} {past.state}{why}"
