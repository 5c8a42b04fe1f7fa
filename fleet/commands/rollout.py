"""`lockgate-fleet rollout`: start, plan, change, halt and show rollouts."""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agent.errors import ConfigError
from agent.rollout import Audience, Halt, Rollout
from agent.strict import format_time
from fleet.certificates import enrolled_devices, revoked_devices
from fleet.commands.signing import (
    add_keys,
    key_folders,
    now,
    print_json,
    print_statuses,
)
from fleet.phases import parse_devices, parse_phase, parse_window, predict
from fleet.release import find_release
from fleet.rollout import (
    DEFAULT_PHASES,
    FAILURES_MAX,
    RolloutRequest,
    Verb,
    change,
    current_halts,
    current_rollouts,
    find,
    halt,
    halt_of,
    make_rollout_of,
    published_rollouts,
    start,
)
from fleet.store import OutcomeCount, Store
from fleet.workspace import Workspace

VERBS = {
    Verb.PAUSE: "devices that have not begun wait",
    Verb.RESUME: "go on after a pause",
    Verb.FINISH: "no device begins any more; cannot be undone",
    Verb.REISSUE: "try again everywhere, also after a halt or a revert",
}


@dataclass(frozen=True, slots=True)
class Told:
    """A staged rollout with what is known of it."""

    rollout: Rollout
    halt: Halt | None
    published: bool
    outcomes: dict[str, int]


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("rollout", help="who gets which release when")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    started = actions.add_parser("start", help="stage a new rollout")
    _add_request(started)
    add_keys(started)
    planned = actions.add_parser("plan", help="show what start would do, and change nothing")
    _add_request(planned)
    planned.add_argument(
        "--devices-file",
        type=Path,
        metavar="FILE",
        help="device ids, one a line (default: all that were enrolled here or ever reported)",
    )
    for verb, words in VERBS.items():
        changed = actions.add_parser(verb.value, help=words)
        changed.add_argument("id")
        add_keys(changed)
    halted = actions.add_parser("halt", help="stop it now, with the one online key")
    halted.add_argument("id")
    halted.add_argument("--reason", required=True, metavar="TEXT")
    add_keys(halted)
    shown = actions.add_parser("status", help="what is staged, and what devices reported of it")
    shown.add_argument("id", nargs="?")
    parser.set_defaults(run=run)


def _add_request(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id")
    parser.add_argument("--release", required=True, metavar="NAME")
    parser.add_argument(
        "--phase",
        action="append",
        metavar="PERCENT[@+MINUTES|@DATE]",
        help="a share of the devices and when it may begin, as 5, 25@+24h (s, m, h, d) or "
        "100@2026-12-01T00:00:00Z; may be repeated (default: 5, 25@+24h, 100@+72h)",
    )
    parser.add_argument("--hardware-id", action="append", default=[], metavar="TEXT")
    parser.add_argument("--device", action="append", default=[], metavar="ID")
    parser.add_argument("--window", metavar="HH:MM-HH:MM", help="install and reboot only then, UTC")
    parser.add_argument(
        "--failures-max",
        type=int,
        default=FAILURES_MAX,
        metavar="N",
        help="devices that may fail before the collector halts it (default: %(default)s)",
    )


def run(options: argparse.Namespace, workspace: Workspace) -> int:
    """Do what the action says."""
    match options.action:
        case "start":
            keys = key_folders(options, workspace)
            status = start(workspace, keys, _request(options), now())
            _warn_of_strangers(options, workspace)
            print_statuses((status,), as_json=options.json)
        case "plan":
            _plan(options, workspace)
        case "halt":
            keys = key_folders(options, workspace)
            status = halt(workspace, keys, options.id, options.reason, now())
            print_statuses((status,), as_json=options.json)
            if not options.json:
                print("to let nothing else out with it: `lockgate-fleet publish --only halts`")
        case "status":
            _status(options, workspace)
        case verb:
            keys = key_folders(options, workspace)
            status = change(workspace, keys, options.id, Verb(verb), now())
            print_statuses((status,), as_json=options.json)
    return 0


def _request(options: argparse.Namespace) -> RolloutRequest:
    return RolloutRequest(
        id=options.id,
        release=options.release,
        phases=tuple(parse_phase(text) for text in options.phase or ()) or DEFAULT_PHASES,
        audience=Audience(hardware_ids=tuple(options.hardware_id), devices=tuple(options.device)),
        window=None if options.window is None else parse_window(options.window),
        failures_max=options.failures_max,
    )


def _plan(options: argparse.Namespace, workspace: Workspace) -> None:
    request = _request(options)
    release = find_release(workspace, request.release)
    rollout = make_rollout_of(release, request, now())
    devices = _planned_devices(options, workspace)
    _warn_of_strangers(options, workspace)
    plans = predict(rollout, devices)
    if options.json:
        phases = [
            {
                "share": plan.phase.share,
                "not_before": format_time(plan.phase.not_before),
                "devices": list(plan.devices),
            }
            for plan in plans
        ]
        print_json({"rollout": rollout.id, "release": rollout.release, "phases": phases})
        return
    print(f"rollout {rollout.id}: release {rollout.release}, {len(devices)} known devices")
    for plan in plans:
        share = f"{plan.phase.share / 100:g} %"
        print(
            f"  from {format_time(plan.phase.not_before)}  {share:>8}  {len(plan.devices)} more"
            + (f": {_some(plan.devices)}" if plan.devices else "")
        )
    if not devices:
        print("no device is known here yet; --devices-file FILE names some", file=sys.stderr)


def _some(devices: tuple[str, ...], shown: int = 8) -> str:
    rest = len(devices) - shown
    return ", ".join(devices[:shown]) + (f" and {rest} others" if rest > 0 else "")


def _planned_devices(options: argparse.Namespace, workspace: Workspace) -> tuple[str, ...]:
    path: Path | None = options.devices_file
    if path is not None:
        try:
            return parse_devices(path.read_text(), str(path))
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(
                f"{path}: a file with a device id on each line was expected: {why}"
            ) from error
    if options.device:
        return tuple(options.device)
    return _known_devices(workspace)


def _known_devices(workspace: Workspace) -> tuple[str, ...]:
    """The devices that ever reported or were enrolled here, without those that were revoked."""
    reported: set[str] = set()
    if workspace.store.exists():
        store = Store(workspace.store)
        store.open()
        try:
            reported = {row.device for row in store.devices()}
        finally:
            store.close()
    known = reported.union(enrolled_devices(workspace))
    return tuple(sorted(known.difference(revoked_devices(workspace))))


def _warn_of_strangers(options: argparse.Namespace, workspace: Workspace) -> None:
    """Name the devices of `--device` that nobody knows here: they may be mistyped."""
    strangers = sorted(set(options.device).difference(_known_devices(workspace)))
    if strangers:
        print(
            f"warning: {', '.join(strangers)}: neither enrolled here nor heard of; is it mistyped?",
            file=sys.stderr,
        )


def _status(options: argparse.Namespace, workspace: Workspace) -> None:
    rollouts, halts = current_rollouts(workspace), current_halts(workspace)
    published = published_rollouts(workspace)
    chosen = rollouts.rollouts
    if options.id is not None:
        chosen = (find(rollouts, options.id),)
    told = [
        Told(
            rollout,
            halt_of(halts, rollout),
            published=published is not None and rollout in published.rollouts,
            outcomes=outcomes,
        )
        for rollout, outcomes in zip(chosen, _outcomes(workspace, chosen), strict=True)
    ]
    if options.json:
        print_json({"rollouts": [_document(one) for one in told]})
        return
    for one in told:
        _print_rollout(one)
    if not chosen:
        print("no rollouts yet; `lockgate-fleet rollout start` makes one")


def _outcomes(workspace: Workspace, rollouts: Iterable[Rollout]) -> list[dict[str, int]]:
    """For the present issue of each rollout, how many devices reported which outcome."""
    counts: tuple[OutcomeCount, ...] = ()
    if workspace.store.exists():
        store = Store(workspace.store)
        store.open()
        try:
            counts = store.outcomes()
        finally:
            store.close()
    return [
        {
            count.outcome: count.devices
            for count in counts
            if (count.rollout, count.reissue) == (rollout.id, rollout.reissue)
        }
        for rollout in rollouts
    ]


def _print_rollout(told: Told) -> None:
    rollout = told.rollout
    state = rollout.state.value if told.halt is None else f"halted: {told.halt.reason}"
    waits = "" if told.published else ", not published yet"
    print(f"{rollout.id}: release {rollout.release} ({rollout.counter}), {state}{waits}")
    print(f"  issue {rollout.reissue}, at most {rollout.failures_max} failures")
    reported = ", ".join(f"{count} {outcome}" for outcome, count in told.outcomes.items())
    print(f"  devices reported: {reported or 'none yet'}")
    for name, values in (
        ("hardware ids", rollout.audience.hardware_ids),
        ("devices", rollout.audience.devices),
    ):
        if values:
            print(f"  {name}: {_some(values)}")
    for phase in rollout.phases:
        print(f"  {phase.share / 100:g} % from {format_time(phase.not_before)}")
    if rollout.window is not None:
        hours, minutes = divmod(rollout.window.start_minute, 60)
        length = rollout.window.length_minutes
        print(f"  from {hours:02}:{minutes:02} UTC for {length} minutes each day")


def _document(told: Told) -> dict[str, object]:
    rollout = told.rollout
    return {
        "id": rollout.id,
        "release": rollout.release,
        "counter": rollout.counter,
        "state": rollout.state,
        "reissue": rollout.reissue,
        "failures_max": rollout.failures_max,
        "halted": None if told.halt is None else told.halt.reason,
        "published": told.published,
        "outcomes": told.outcomes,
        "phases": [
            {"share": phase.share, "not_before": format_time(phase.not_before)}
            for phase in rollout.phases
        ],
    }
