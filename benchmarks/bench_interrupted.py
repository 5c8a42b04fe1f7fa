"""What an interruption costs: installations killed at random moments, each resumed to its end.

    python -m benchmarks.bench_interrupted [--mib 256] [--cuts 50] [--seed 1]
                                           [--modes kill power] [--payloads full delta] [--images DIR]

The device is `lockgate install` as a process, with its settings, metadata and journal, over HTTPS from
nginx. `kill` ends it with SIGKILL; `power` also takes what it had not flushed. The moments are shares of the
processor time that an undisturbed run takes. Bytes fetched are those that TCP has delivered to the device,
TLS, headers and metadata among them: of two runs, less those of the undisturbed one, they were fetched again.

Status 1 when a goal is missed: every slot is the image, at most 1 MiB fetched again, at most 1.02 times the
windows that change written, and nothing of a payload fetched or written when the image is there already.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Final

from agent.release import DELTA, FULL, Image
from benchmarks import device as devices
from benchmarks.interrupted_images import Made, make_images
from benchmarks.interruption import Ending, Subject
from benchmarks.web import HOST, WebServer
from benchmarks.wire import Relay
from fleet.certificates import Holder, identity
from fleet.workspace import Workspace

MIB: Final = 1024 * 1024
KIB: Final = 1024
AGAIN_BYTES_MAX: Final = MIB
WRITTEN_MAX: Final = 1.02
TRIES: Final = 3
MODES: Final = ("kill", "power")
PAYLOADS: Final = (FULL, DELTA)
MEMORY: Final = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Interruption:
    """One installation that was interrupted once."""

    share: float
    again_bytes: int
    written: float
    whole: bool
    right: bool

    @property
    def met(self) -> bool:
        """Whether every goal is."""
        return self.right and self.again_bytes <= AGAIN_BYTES_MAX and self.written <= WRITTEN_MAX


def interruptions(
    subject: Subject, undisturbed: Ending, cuts: int, chance: Random
) -> Iterator[Interruption]:
    """Installations from the same beginning, each killed once."""
    changed_bytes = subject.changed_bytes()
    found = 0
    for _ in range(cuts * TRIES):
        if found == cuts:
            return
        share = chance.random()
        subject.forget()
        first = subject.run(share * undisturbed.cpu_s)
        if not first.killed:
            continue  # it was quicker than the undisturbed one
        found += 1
        whole = subject.holds_image()
        second = subject.run()
        yield Interruption(
            share,
            first.reached_bytes + second.reached_bytes - undisturbed.reached_bytes,
            (first.written_bytes + second.written_bytes) / changed_bytes,
            whole,
            subject.holds_image(),
        )
    raise AssertionError(f"{found} of {cuts} were killed in time")


def measure(name: str, subject: Subject, image: Image, cuts: int, seed: int) -> bool:
    """Print the table of one kind of interruption; whether every goal is met."""
    subject.forget()
    subject.run()  # fills the caches of the interpreter and of the server
    subject.forget()
    undisturbed = subject.run()
    changed_bytes = subject.changed_bytes()
    print(
        f"\n{name}: undisturbed {undisturbed.reached_bytes / KIB:,.0f} KiB fetched, "
        f"{undisturbed.written_bytes / changed_bytes:.4f} x {changed_bytes / MIB:,.1f} MiB written, "
        f"{undisturbed.cpu_s:.1f} s of processor time"
    )
    met = reinstall(subject, image)
    print(f"{'cut':>4} {'at':>6} {'KiB again':>10} {'written':>9}  slot before, after")
    rows: list[Interruption] = []
    for row in interruptions(subject, undisturbed, cuts, Random(f"{seed} {name}")):
        rows.append(row)
        show(len(rows), row)
    summarise(rows)
    return met and all(row.met for row in rows)


def reinstall(subject: Subject, image: Image) -> bool:
    """Install what is there already, by a device that has forgotten that it is."""
    there = replace(subject, lossy="")
    there.forget(slot_too=False)
    ending = there.run()
    again = ending.said("fetched_bytes") - image.payloads[-1].index_bytes  # the delta's, if any
    written = ending.said("written_bytes")
    print(
        f"the same image again: {again} bytes of records fetched beside an index, {written} written, "
        f"{ending.reached_bytes / KIB:,.0f} KiB on the wire"
    )
    return again == written == 0


def show(number: int, one: Interruption) -> None:
    """One line."""
    before = "whole" if one.whole else "-"
    after = "the image" if one.right else "WRONG"
    again = one.again_bytes / KIB
    missed = "" if one.met else "  missed"
    print(
        f"{number:>4} {one.share:>6.1%} {again:>10,.0f} {one.written:>9.4f}  {before}, {after}{missed}",
        flush=True,
    )


def summarise(rows: list[Interruption]) -> None:
    """The worst of all, beside what was asked for."""
    again = [one.again_bytes for one in rows]
    right = sum(one.right for one in rows)
    print(
        f"{right} of {len(rows)} are the image; fetched again: {max(again) / KIB:,.0f} KiB at most, "
        f"{sum(again) / len(again) / KIB:,.0f} KiB on average, {AGAIN_BYTES_MAX / KIB:,.0f} allowed; "
        f"written: {max(one.written for one in rows):.4f} at most, {WRITTEN_MAX} allowed"
    )


@contextmanager
def harbour(folder: Path) -> Iterator[tuple[Workspace, Relay]]:
    """A fleet with nothing published, and its server behind a relay that counts."""
    workspace = devices.make_fleet(folder / "fleet")
    workspace.public.mkdir(exist_ok=True)
    files = identity(workspace, Holder.REPOSITORY)
    names = str(files.certificate.absolute()), str(files.key.absolute())
    with WebServer(workspace.public, folder / "nginx", *names) as web, Relay(web.tls_port) as relay:
        yield workspace, relay


def bench(made: Made, folder: Path, options: argparse.Namespace) -> bool:
    """Every mode with every payload; whether every goal is met."""
    oldest, base, newest = made.files
    met = True
    with harbour(folder) as (workspace, relay):
        slots = folder / "running", folder / "standby"
        for slot in slots:
            slot.touch()
        for payload in options.payloads:
            image = made.image if payload == DELTA else only_full(made.image)
            devices.publish(workspace, image, made.blobs)
            slots[0].write_bytes(base.read_bytes())
            url = f"https://{HOST}:{relay.port}"
            device = devices.make(workspace, url, slots, folder / f"device-{payload}")
            for mode in options.modes:
                lossy = f"{options.seed}" if mode == "power" else ""
                subject = Subject(device, relay, oldest, newest, lossy)
                name = f"{payload}, {mode}"
                met = measure(name, subject, image, options.cuts, options.seed) and met
    return met


def only_full(image: Image) -> Image:
    """The image without its deltas."""
    return replace(image, payloads=tuple(one for one in image.payloads if one.kind == FULL))


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description="what an interruption costs")
    parser.add_argument("--mib", type=int, default=256, help="length of the image (default: 256)")
    parser.add_argument("--cuts", type=int, default=50, help="of each kind (default: 50)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default: 1)")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--payloads", nargs="+", choices=PAYLOADS, default=PAYLOADS)
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="made there, or taken from there"
    )
    options = parser.parse_args()
    place = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="lockgate-interrupted-", dir=place) as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server's processes are nobody's
        made = make_images((options.images or folder).absolute(), options.mib * MIB)
        met = bench(made, folder, options)
    print("every goal is met" if met else "a goal is MISSED")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
