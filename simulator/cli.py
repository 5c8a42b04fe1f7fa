"""`lockgate-sim`: updates on a simulated board, stamped images, simulated fleets and microcontrollers."""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Lock
from typing import Final

from agent.errors import ConfigError, UpdateError
from fleet.workspace import Workspace
from simulator.board import BrokenImageError
from simulator.explore.verb import add_explore
from simulator.fleet import (
    FleetOptions,
    device_folders,
    enrol_devices,
    join,
    run_devices,
)
from simulator.image import Behaviour, inspect_file, stamp_file
from simulator.lab import EXPECTED, Lab, make_lab
from simulator.mcu.command import add_mcu
from simulator.power import Moment
from simulator.profiles import load_profile
from simulator.storm.cli import add_storm
from simulator.trace import Line, format_line, line_document
from simulator.world import DarkBoardError, RestlessError

OK: Final = 0
WRONG: Final = 1
MIB: Final = 1024 * 1024
OPERATIONS: Final = (
    "BlockDevice.write",
    "BlockDevice.flush",
    "BlockDevice.flush_behind",
    "Files.replace",
    "Files.remove",
    "System.reboot",
    "Broker.publish",
    "SerialLine.write",
)
"""What `--cut-at-name` takes: every durable effect of a simulated seam."""
BROKEN: Final = (BrokenImageError, DarkBoardError, RestlessError)

Run = Callable[[argparse.Namespace], int]


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, for the program and for the documentation's test."""
    parser = argparse.ArgumentParser(
        prog="lockgate-sim", description="Run the real agent on simulated boards."
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(subparsers)
    _add_image(subparsers)
    _add_fleet(subparsers)
    add_explore(subparsers)
    add_storm(subparsers)
    add_mcu(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is that of `docs/exit-codes.md`."""
    options = build_parser().parse_args(arguments)
    run: Run = options.run
    try:
        return run(options)
    except UpdateError as error:
        print(f"lockgate-sim: {error.code}: {error}", file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(f"lockgate-sim: {error.filename or 'file'}: {error.strerror}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        return 130


def _add_run(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("run", help="a whole update on one simulated board")
    parser.add_argument(
        "--board", default="rpi4-tryboot", help="a board profile's name, or a TOML file"
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed prints the same trace")
    parser.add_argument(
        "--behaviour",
        type=Behaviour,
        choices=list(Behaviour),
        default=Behaviour.HEALTHY,
        help="what the new release does once it is started (default: healthy)",
    )
    cut = parser.add_mutually_exclusive_group()
    cut.add_argument("--cut-at", type=int, metavar="N", help="cut the power at operation N")
    cut.add_argument(
        "--cut-at-name",
        metavar="NAME:K",
        help="cut the power at the Kth operation NAME, for example BlockDevice.flush:2",
    )
    parser.add_argument(
        "--moment",
        type=Moment,
        choices=list(Moment),
        default=Moment.BEFORE,
        help="cut before, in the middle of, or after that operation (default: before)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    lab = make_lab(load_profile(options.board), seed=options.seed)
    _plan_cut(lab, options)
    lab.ship(options.behaviour)
    failure = ""
    try:
        lab.device.run_until_quiet()
    except BROKEN as error:
        failure = str(error)
    if not failure:
        _check_cut(lab, options)
    summary = _summary(lab, options.behaviour, failure)
    if options.json:
        events = [line_document(line) for line in lab.device.trace.lines]
        print(json.dumps({"summary": summary, "events": events}, indent=2))
    else:
        print(lab.device.trace.text())
        print("\n".join(f"{key:20} {value}" for key, value in summary.items()))
    return OK if summary["as_expected"] else WRONG


def _plan_cut(lab: Lab, options: argparse.Namespace) -> None:
    power = lab.device.board.power
    if options.cut_at is not None:
        power.cut_at(options.cut_at, options.moment)
    if options.cut_at_name:
        name, _, number = options.cut_at_name.partition(":")
        if name not in OPERATIONS or not number.isdecimal() or int(number) < 1:
            raise ConfigError(
                f"--cut-at-name: NAME:K with K from 1 and one of {', '.join(OPERATIONS)} was expected, "
                f"{options.cut_at_name!r} found"
            )
        power.cut_at_name(name, int(number), options.moment)


def _check_cut(lab: Lab, options: argparse.Namespace) -> None:
    """Refuse a cut that never came: an update without it would be taken for one that survived it."""
    power = lab.device.board.power
    if (options.cut_at is not None or options.cut_at_name) and not power.cuts:
        raise ConfigError(
            f"--cut-at, --cut-at-name: an operation of this update was expected, "
            f"{options.cut_at_name or options.cut_at} found; it has {power.number} operations"
        )


def _summary(lab: Lab, behaviour: Behaviour, failure: str) -> dict[str, object]:
    expected = EXPECTED[behaviour]
    outcomes = [str(outcome) for outcome in lab.operator.outcomes()]
    board = lab.device.board
    summary: dict[str, object] = {
        "board": lab.profile.name,
        "seed": lab.seed,
        "behaviour": str(behaviour),
        "expected": str(expected),
        "outcome": ", ".join(outcomes) or "none",
        "runs_in_slot": lab.device.slot,
        "boots": board.boots,
        "power_cuts": board.power.cuts,
        "operations": board.power.number,
        "fetched_bytes": lab.repository.sent_bytes("blobs/*"),
        "as_expected": not failure and outcomes == [expected],
    }
    return summary | ({"failure": failure} if failure else {})


def _add_image(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("image", help="say what an image does once it is started")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    stamp = verbs.add_parser("stamp", help="copy an image and stamp it")
    stamp.add_argument(
        "--behaviour", type=Behaviour, choices=list(Behaviour), default=Behaviour.HEALTHY
    )
    stamp.add_argument("source", type=Path, metavar="IN")
    stamp.add_argument("target", type=Path, metavar="OUT")
    stamp.set_defaults(run=_stamp)
    show = verbs.add_parser("show", help="print what the simulator sees in an image")
    show.add_argument("file", type=Path, metavar="FILE")
    show.set_defaults(run=_show)


def _stamp(options: argparse.Namespace) -> int:
    shutil.copyfile(options.source, options.target)
    stamp_file(options.target, options.behaviour)
    print(f"{options.target}: {options.behaviour}")
    return OK


def _show(options: argparse.Namespace) -> int:
    verdict = inspect_file(options.file)
    whole = {True: "whole", False: "not whole", None: "not stamped"}[verdict.intact]
    start = "starts" if verdict.startable else "does not start"
    print(f"{options.file}: {start}, {whole}, {verdict.behaviour}")
    return OK if verdict.startable and verdict.intact is not False else WRONG


def _add_fleet(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("fleet", help="simulated devices that join a real broker")
    parser.add_argument("--board", default="rpi4-tryboot", help="a board profile's name or file")
    parser.add_argument("--count", type=int, default=3, help="how many devices (default: 3)")
    parser.add_argument(
        "--devices",
        type=Path,
        required=True,
        metavar="DIR",
        help="a folder for each device, as `lockgate-fleet enrol --out` writes it, with device.key",
    )
    parser.add_argument(
        "--enrol", type=Path, metavar="FLEET_DIR", help="enrol what is missing there, as sim-NNN"
    )
    parser.add_argument("--broker", metavar="HOST:PORT", help="instead of that in agent.toml")
    parser.add_argument("--repository", default="", metavar="URL", help="the same")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--part-mib", type=int, default=64, help="how large a part of a slot is (default: 64)"
    )
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="PART=FILE",
        help="what slot a holds at first (default: small stamped images)",
    )
    parser.add_argument(
        "--refresh-s", type=int, default=5, help="the shortest time between two refreshes"
    )
    parser.add_argument("--until-release", default="", metavar="NAME", help="end when all run it")
    parser.add_argument("--for", type=float, dest="for_s", metavar="SECONDS", help="end after that")
    parser.set_defaults(run=_fleet)


def _fleet(options: argparse.Namespace) -> int:
    profile = load_profile(options.board)
    devices = options.devices.resolve()
    if options.enrol is not None:
        folders = enrol_devices(Workspace(options.enrol), devices, options.count)
    else:
        folders = device_folders(devices, options.count)
    with tempfile.TemporaryDirectory(prefix="lockgate-sim-") as state:
        settings = FleetOptions(
            profile=profile,
            part_bytes=options.part_mib * MIB,
            state=Path(state),
            seed=options.seed,
            broker=_address(options.broker) if options.broker else None,
            repository=options.repository.rstrip("/"),
            refresh_interval_min_s=options.refresh_s,
            images=dict(_image(row) for row in options.image),
        )
        lock = Lock()

        def tell(name: str, line: Line) -> None:
            with lock:
                print(f"{name:12}  {format_line(line)}", flush=True)

        stop = Event()
        joined = [join(one, number, settings, tell, stop) for number, one in enumerate(folders)]
        well = run_devices(joined, stop, until_release=options.until_release, for_s=options.for_s)
    return OK if well else WRONG


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"--broker: HOST:PORT was expected, {text!r} found")
    return host, int(port)


def _image(text: str) -> tuple[str, Path]:
    part, equals, file = text.partition("=")
    if not equals or not Path(file).is_file():
        raise ConfigError(
            f"--image: PART=FILE with a file that exists was expected, {text!r} found"
        )
    return part, Path(file)
