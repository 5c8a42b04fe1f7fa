"""`lockgate defer`: no update begins before a date; one that is under way goes on."""

import argparse
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from agent import journal as journals
from agent.commands import outlook
from agent.commands.output import show
from agent.commands.setup import RunningService, alone_or_asked
from agent.device import Device
from agent.errors import RefusedError
from agent.linux.world import local_world
from agent.request import Request, Verb
from agent.strict import TIME_FORMAT, format_time

DURATION: Final = re.compile(r"([0-9]{1,6})([smhd])")
UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DEFER_MAX: Final = timedelta(days=90)


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("defer", help="let no update begin before a date")
    when = parser.add_mutually_exclusive_group(required=True)
    when.add_argument(
        "until", nargs="?", type=_date, metavar="UNTIL", help="a date like 2026-12-01T06:00:00Z"
    )
    when.add_argument(
        "--for",
        dest="duration",
        type=_duration,
        metavar="DURATION",
        help="30m, 12h or 7d from now; 0s ends an earlier one",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Remember the date; someone who runs `lockgate install` does not wait for it."""

    def alone(device: Device) -> int:
        until = _until(options, device)
        journal = outlook.load_journal(device)
        journals.store(device.world.files, replace(journal, deferred_until=until))
        return _told(options, until)

    def asked(service: RunningService) -> int:
        until = _until(options, service.setup.open(local_world(service.setup.config)))
        service.ask(Request(Verb.DEFER, until))
        return _told(options, until)

    return alone_or_asked(options, alone, asked)


def _until(options: argparse.Namespace, device: Device) -> datetime:
    now = device.now().replace(microsecond=0)
    until: datetime = options.until if options.until is not None else now + options.duration
    if until - now > DEFER_MAX:
        raise RefusedError(
            f"a date within {DEFER_MAX.days} days was expected, {format_time(until)} found; "
            "a device that is never updated is not safe either"
        )
    return until


def _told(options: argparse.Namespace, until: datetime) -> int:
    words = f"no update begins before {format_time(until)}"
    show(options, {"deferred_until": format_time(until)}, [words])
    return 0


def _date(text: str) -> datetime:
    try:
        return datetime.strptime(text, TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"a date like 2026-12-01T06:00:00Z was expected, {text!r} found"
        ) from error


def _duration(text: str) -> timedelta:
    found = DURATION.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"a number with s, m, h or d was expected, as 12h; {text!r} found"
        )
    return timedelta(seconds=int(found[1]) * UNIT_S[found[2]])
