"""`lockgate-fleet release`: make releases out of images, and show them."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from agent.release import Image, Release, encode_release
from agent.strict import format_time
from fleet.chip_images import HOSTS_METAVAR, parse_chip_inputs
from fleet.commands.signing import (
    add_keys,
    key_folders,
    now,
    print_json,
    print_statuses,
    status_document,
)
from fleet.delta.offer import Watch as DeltaWatch
from fleet.disk_image_parts import parse_disk_input
from fleet.forecast import forecast
from fleet.images import ImageStream, Taken
from fleet.payload import LEVEL, LEVELS, Encoding
from fleet.release import (
    KINDS,
    SECURITY,
    ImageInput,
    MadeRelease,
    ReleaseRequest,
    Watch,
    add_release,
    find_release,
    parse_image_input,
    releases,
)
from fleet.workspace import Workspace

PERCENT = 100


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("release", help="make and show releases")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_add(actions.add_parser("add", help="make a release out of images"))
    actions.add_parser("list", help="all releases")
    shown = actions.add_parser("show", help="one release")
    shown.add_argument("name")
    parser.set_defaults(run=run)


def _add_add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument(
        "--counter", type=int, required=True, help="higher than that of every release before"
    )
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--kind", choices=KINDS)
    kind.add_argument(
        "--security",
        dest="kind",
        action="store_const",
        const=SECURITY,
        help="the same as --kind security: devices may take it where they wait with others",
    )
    parser.add_argument("--notes", default="", metavar="TEXT")
    _add_inputs(parser)
    parser.add_argument(
        "--level",
        type=int,
        default=LEVEL,
        help=f"zstd level, {LEVELS.start} to {LEVELS.stop - 1} (default: %(default)s)",
    )
    parser.add_argument(
        "--threads", type=int, default=0, help="default: one for each processor; changes no byte"
    )
    parser.add_argument(
        "--from",
        dest="bases",
        action="append",
        default=[],
        metavar="RELEASE",
        help="also make delta payloads for devices that run this release; once for each",
    )
    parser.add_argument(
        "--encrypt-to",
        action="append",
        default=[],
        metavar="KEY|DEVICE|enrolled",
        help="only these can read the payloads: a public key file, an enrolled device, or all of them",
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be made")
    add_keys(parser)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="HARDWARE_ID:PART=FILE[#PARTITION]",
        help="a raw image, or one packed with xz, gzip, zstd or bzip2; once for each part; of a whole disk "
        "one partition: its number, name=NAME, label=LABEL or role=boot|root",
    )
    parser.add_argument(
        "--disk",
        action="append",
        default=[],
        metavar="PROFILE=FILE",
        help="a whole disk with every part of a slot, as the board profile has them",
    )
    parser.add_argument(
        "--no-bmap",
        action="store_true",
        help="do not look for block maps (FILE.bmap) beside the images",
    )
    parser.add_argument(
        "--chip",
        action="append",
        default=[],
        metavar="HARDWARE_ID:COMPONENT=FILE",
        help="an image for a microcontroller, in the format that the board profile names",
    )
    parser.add_argument(
        "--hosts",
        action="append",
        default=[],
        metavar=HOSTS_METAVAR,
        help="the release counters of the systems that a chip's image works with; for each --chip",
    )
    parser.add_argument(
        "--chip-profile",
        action="append",
        default=[],
        metavar="FILE",
        help="a board profile: judge the images of its chips as such a device will",
    )


def run(options: argparse.Namespace, workspace: Workspace) -> int:
    """Do what the action says."""
    match options.action:
        case "add":
            return _add(options, workspace)
        case "list":
            return _list(releases(workspace), as_json=options.json)
        case _:
            return _show(find_release(workspace, options.name), as_json=options.json)


def _add(options: argparse.Namespace, workspace: Workspace) -> int:
    request = ReleaseRequest(
        name=options.name,
        counter=options.counter,
        kind=options.kind,
        images=(
            *(parse_image_input(text) for text in options.image),
            *(image for text in options.disk for image in parse_disk_input(text)),
        ),
        notes=options.notes,
        encoding=Encoding(level=options.level, threads=max(0, options.threads)),
        bases=tuple(options.bases),
        chips=parse_chip_inputs(options.chip, options.hosts, options.chip_profile),
        heed_maps=not options.no_bmap,
        encrypt_to=tuple(options.encrypt_to),
    )
    with _progress() as (watch, watch_delta):
        made = add_release(
            workspace,
            key_folders(options, workspace),
            request,
            now(),
            watch=watch,
            watch_delta=watch_delta,
            dry_run=options.dry_run,
        )
    bases = [one for one in releases(workspace) if one.name in request.bases]
    _print_made(made, bases, as_json=options.json)
    return 0


@contextmanager
def _progress() -> Iterator[tuple[Watch | None, DeltaWatch | None]]:
    """A bar for each image and each delta on a terminal, with rate and time left; nothing elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None, None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done)

        def watch(image: ImageInput, stream: ImageStream) -> None:
            show(f"{image.part} of {image.path.name}", stream.consumed_bytes(), stream.file_bytes)

        def watch_delta(image: Image, base: Release, done: int, total: int) -> None:
            done_bytes = image.length_bytes * done // total
            show(f"{image.part} from {base.name}", done_bytes, image.length_bytes)

        yield watch, watch_delta


def _print_made(made: MadeRelease, bases: list[Release], *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "release": _document(made.release),
                "staged": made.status is not None,
                "roles": [] if made.status is None else [status_document(made.status)],
                "taken": [_taken_document(one) for one in made.taken],
            }
        )
        return
    for one in made.taken:
        print(_taken_words(one))
    _print_release(made.release)
    if bases:
        print("\n".join(forecast(made.release, bases)))
    if made.status is None:
        print("nothing was written: this was a dry run")
    else:
        print_statuses((made.status,), as_json=False)


def _taken_words(one: Taken) -> str:
    where = f"partition {one.partition.words}" if one.partition else "all of it"
    packing = "" if one.packing == "raw" else f", packed with {one.packing}"
    block_map = f", by {one.block_map}" if one.block_map else ""
    return f"taken of {one.path}{packing}{block_map}: {where}"


def _taken_document(one: Taken) -> dict[str, object]:
    partition = one.partition
    return {
        "file": str(one.path),
        "packing": one.packing,
        "block_map": str(one.block_map) if one.block_map else "",
        "partition": None
        if partition is None
        else {
            "number": partition.number,
            "start_bytes": partition.start_bytes,
            "length_bytes": partition.length_bytes,
            "type": partition.kind,
            "name": partition.name,
            "file_system": partition.file_system.kind,
            "label": partition.file_system.label,
        },
    }


def _list(known: tuple[Release, ...], *, as_json: bool) -> int:
    if as_json:
        print_json({"releases": [_document(release) for release in known]})
        return 0
    for release in known:
        hardware = ", ".join(sorted({image.hardware_id for image in release.images}))
        created = format_time(release.created)
        print(f"{release.counter:6}  {release.name:24} {release.kind:9} {created}  {hardware}")
    if not known:
        print("no releases yet; `lockgate-fleet release add` makes one", file=sys.stderr)
    return 0


def _show(release: Release, *, as_json: bool) -> int:
    if as_json:
        print_json(_document(release))
    else:
        _print_release(release)
    return 0


def _print_release(release: Release) -> None:
    print(f"release {release.name}, counter {release.counter}, {release.kind}")
    print(f"  created {format_time(release.created)}")
    if release.notes:
        print(f"  {release.notes}")
    for image in release.images:
        place = image.part if image.hosts is None else image.component
        print(f"  {image.hardware_id}:{place}  {image.length_bytes} bytes")
        if image.hosts is not None:
            print(f"    works with {image.hosts.counter_min} to {image.hosts.counter_max}")
        print(f"    SHA-256 {image.sha256}")
        for payload in image.payloads:
            share = PERCENT * payload.length_bytes / image.length_bytes
            kind = f"encrypted {payload.kind}" if payload.encryption else payload.kind
            told = f"{kind} payload {payload.length_bytes} bytes ({share:.1f} %)"
            base = f" from image {payload.base_sha256[:16]}" if payload.base_sha256 else ""
            print(f"    {told}{base}")
            print(f"    {payload.path}")


def _document(release: Release) -> dict[str, object]:
    document: dict[str, object] = json.loads(encode_release(release))
    return document
