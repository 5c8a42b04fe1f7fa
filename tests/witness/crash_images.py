"""`make crash-images`: what a power cut leaves of whole updates on real ext4 and FAT.

Run it as `python -m tests.witness.crash_images [--seed N] [--profiles ...] [--folder F]`, as root. It ends
with two tables, and with status 1 when anything was violated or when careless writing was not found out.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from simulator.image import Behaviour
from simulator.profiles import profile_names
from tests.witness import ext4_images, fat_images
from tests.witness.ext4_images import Findings
from tests.witness.fat_images import KINDS, FatFindings
from tests.witness.kill_sweep import MEMORY, say, without_chips


def main(arguments: list[str]) -> int:
    """Record, replay, judge."""
    options = _options(arguments)
    folder = Path(tempfile.mkdtemp(prefix="lockgate-crash-", dir=options.folder))
    began_s = time.monotonic()
    try:
        fat = _fat(folder, options.seed)
        show_fat(fat)
        ext4 = _ext4(folder, options)
        show_ext4(ext4)
    finally:
        shutil.rmtree(folder)
    wrong = judge(ext4, fat)
    for line in wrong:
        say(f"VIOLATION {line}")
    say(f"{len(wrong)} violations; {time.monotonic() - began_s:.0f} s")
    return 1 if wrong else 0


def _ext4(folder: Path, options: argparse.Namespace) -> dict[str, Findings]:
    found: dict[str, Findings] = {}
    for profile in options.profiles:
        for behaviour in (Behaviour.HEALTHY, Behaviour.FAILS_CHECKS):
            name = f"{profile}, {behaviour} image"
            say(f"ext4: {name}")
            place = folder / f"{profile}-{behaviour}"
            recorded = ext4_images.record(place, profile, options.seed, behaviour=behaviour)
            found[name] = ext4_images.judge(recorded, folder, say)
            say(f"  {found[name].images} images, {len(found[name].violations)} violations")
            shutil.rmtree(place)
    say("ext4: without the sync of the folder")
    careless = ext4_images.record(
        folder / "careless", options.profiles[0], options.seed, careless=True
    )
    found[CARELESS] = ext4_images.judge(careless, folder, say, recover=False)
    return found


CARELESS: Final = "careless, for contrast"
RENAMED: Final = "renamed"
DRIVER: Final = "by a FAT driver, for contrast"


def _fat(folder: Path, seed: int) -> dict[str, FatFindings]:
    found: dict[str, FatFindings] = {}
    for kind in KINDS:
        ways = {
            kind: fat_images.switch,
            f"{kind} overwritten {DRIVER}": fat_images.overwrite,
            f"{kind} {RENAMED} {DRIVER}": fat_images.rename,
        }
        for name, write in ways.items():
            say(f"FAT: {name}")
            place = folder / f"{kind}-{write.__name__}"
            found[name] = fat_images.judge(*fat_images.record(place, kind, write), folder, seed)
            shutil.rmtree(place)
    return found


def judge(ext4: dict[str, Findings], fat: dict[str, FatFindings]) -> list[str]:
    """Everything that must not be; a contrast that shows nothing is one of these."""
    wrong: list[str] = []
    for name, findings in ext4.items():
        if name == CARELESS:
            wrong += [] if findings.lost else ["careless writing was not found out on ext4"]
        else:
            wrong += [f"{name}: {line}" for line in findings.violations]
    for name, found in fat.items():
        if RENAMED in name:
            wrong += [] if found.unreadable else [f"{name}: was not found out"]
        elif DRIVER not in name:
            wrong += [f"{name}: {line}" for line in found.unreadable]
    return wrong


def show_ext4(rows: dict[str, Findings]) -> None:
    """The table of ext4."""
    row = "{:44} {:>7} {:>7} {:>5} {:>7} {:>9} {:>9} {:>9} {:>7} {:>5} {:>6}"
    say("\next4")
    say(
        row.format(
            *("update", "entries", "flushes", "acks", "images", "distinct", "contents"),
            *("recovered", "corrupt", "lost", "untrue"),
        )
    )
    for name, one in rows.items():
        counts = (one.entries, one.flushes, one.acknowledged, one.images, one.distinct_images)
        bad = (len(one.corrupt), len(one.lost), len(one.untrue))
        say(row.format(name, *counts, one.contents, one.recovered, *bad))


def show_fat(rows: dict[str, FatFindings]) -> None:
    """The table of FAT."""
    row = "{:52} {:>7} {:>8} {:>7} {:>9} {:>11}"
    say("\nFAT, autoboot.txt")
    say(row.format("way of writing", "writes", "sectors", "images", "distinct", "unreadable"))
    for name, one in rows.items():
        counts = (one.writes, one.sectors, one.images, one.distinct_images, len(one.unreadable))
        say(row.format(name, *counts))
    say("")


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="crash-images", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of images, keys and subsets")
    parser.add_argument("--profiles", nargs="+", choices=profile_names(), default=without_chips())
    parser.add_argument(
        "--folder",
        default=str(MEMORY) if MEMORY.is_dir() else None,
        help="where the disks lie; in memory unless told otherwise",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
