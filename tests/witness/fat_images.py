"""`autoboot.txt` on a real FAT whose every write is logged, and every disk that a cut may leave of it.

The agent switches by one write of one sector to the block device. For contrast a FAT driver, that of
mtools, overwrites the same file: the same judge must find what that leaves.
"""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from random import Random as Generator
from typing import Final

from agent.board import Slot, SlotName, TrybootSettings
from agent.boot.autoboot import Autoboot, render_autoboot
from agent.boot.tryboot import FILE_NAME, TrybootControl
from agent.errors import BootControlError
from agent.interfaces import SystemFacts
from agent.linux.storage import LinuxStorage
from simulator.block_device import SECTOR_BYTES
from simulator.fat import FatError, read_root_file
from tests.linux.mounts import run
from tests.witness.block_log import Entry, read_log, windows
from tests.witness.logged_disk import logged_disk

KINDS: Final[Mapping[str, tuple[int, tuple[str, ...]]]] = {
    "FAT12": (1024, ("-F", "12")),
    "FAT16": (8 * 1024, ("-F", "16", "-s", "1")),
    "FAT32": (34 * 1024, ("-F", "32", "-s", "1")),
}
"""Size in KiB, and options of mkfs.vfat."""
FILE_BYTES: Final = 128
SHORT_BYTES: Final = 70
SWITCHES: Final = 12
SUBSETS_WHOLE_MAX: Final = 6
SUBSETS: Final = 300
SLOTS: Final[Mapping[SlotName, Slot]] = {"a": Slot({}, 2), "b": Slot({}, 3)}
CONTENTS: Final = frozenset(
    render_autoboot(Autoboot(default=default, trial=5 - default), length)
    for default in (2, 3)
    for length in (FILE_BYTES, SHORT_BYTES)
)


@dataclass(slots=True)
class FatFindings:
    """What the crash images of one way of writing showed."""

    writes: int = 0
    sectors: int = 0
    images: int = 0
    distinct_images: int = 0
    unreadable: list[str] = field(default_factory=list)


def record(folder: Path, kind: str, write: Callable[[Path, str], None]) -> tuple[bytes, Path]:
    """A new FAT with the file in it; then log what `write` (export, device) does to it."""
    folder.mkdir(parents=True)
    disk, file = folder / "disk", folder / FILE_NAME
    size, options = KINDS[kind]
    run("mkfs.vfat", *options, "-C", str(disk), str(size))
    file.write_bytes(render_autoboot(Autoboot(default=2, trial=3), FILE_BYTES))
    run("mcopy", "-i", str(disk), str(file), f"::{FILE_NAME}")
    base = disk.read_bytes()
    with logged_disk(folder, disk) as logged:
        write(logged.export, logged.device)
    return base, logged.log


def switch(_export: Path, device: str) -> None:
    """The agent's way: confirm the other slot again and again, each time as a process of its own."""
    for number in range(SWITCHES):
        slot: SlotName = "b" if number % 2 == 0 else "a"
        facts = SystemFacts("boot", (), (), SLOTS[slot].boot_partition, None)
        storage = LinuxStorage()
        TrybootControl(TrybootSettings(device), SLOTS, storage, facts).confirm(slot)
        storage.device(device).close()


def overwrite(export: Path, _device: str) -> None:
    """A FAT driver's way: open, truncate, write, close."""
    for file in _next_files(export.parent):
        run("mcopy", "-o", "-i", str(export), str(file), f"::{FILE_NAME}")


def rename(export: Path, _device: str) -> None:
    """A FAT driver's other way: a new file, then its name instead of the old one's."""
    for file in _next_files(export.parent):
        run("mcopy", "-i", str(export), str(file), "::autoboot.new")
        run("mdel", "-i", str(export), f"::{FILE_NAME}")
        run("mren", "-i", str(export), "::autoboot.new", f"::{FILE_NAME}")


def _next_files(folder: Path) -> Iterator[Path]:
    """The contents of so many switches, as people write them: not all of one length."""
    file = folder / FILE_NAME
    for number in range(SWITCHES):
        default = 3 - number % 2
        length = SHORT_BYTES if number % 2 == 0 else FILE_BYTES
        file.write_bytes(render_autoboot(Autoboot(default=default, trial=5 - default), length))
        yield file


def judge(base: bytes, log: Path, folder: Path, seed: int) -> FatFindings:
    """Read the file from every image with three readers: the agent's, the simulator's, mtools."""
    entries = read_log(log)
    findings = FatFindings(writes=sum(entry.writes for entry in entries))
    file = folder / "image"
    file.write_bytes(base)
    seen: set[frozenset[tuple[int, bytes]]] = set()
    changed: set[int] = set()
    for overlay, story in _images(base, entries, seed):
        findings.images += 1
        changed |= overlay.keys()
        key = frozenset(overlay.items())
        if key in seen:
            continue
        seen.add(key)
        _put(file, overlay)
        told = _unreadable(file)
        if told:
            findings.unreadable.append(f"{story}: {told}")
        _put(file, {at: base[at : at + SECTOR_BYTES] for at in overlay})
    findings.distinct_images = len(seen)
    findings.sectors = len(changed)
    return findings


def _put(file: Path, sectors: dict[int, bytes]) -> None:
    with file.open("r+b") as disk:
        for at, content in sectors.items():
            disk.seek(at)
            disk.write(content)


def _images(base: bytes, entries: list[Entry], seed: int) -> Iterator[tuple[dict[int, bytes], str]]:
    """In each window: every prefix of its sectors, and every subset of those that change.

    With many of these it is so many random subsets, and each that lacks only one sector. An image is
    told by its sectors that differ from the first one.
    """
    chance = Generator(seed)
    durable: dict[int, bytes] = {}
    for start, window in windows(entries):
        sectors = [piece for entry in window for piece in _sectors(entry)]
        overlay = dict(durable)
        changing = []
        for piece in sectors:
            if _at(base, overlay, piece.offset) != piece.content:
                changing.append(piece)
            _lay(base, overlay, piece)
            yield dict(overlay), f"prefix after entry {start}"
        for subset in _subsets(changing, chance):
            image = dict(durable)
            for piece in subset:
                _lay(base, image, piece)
            yield image, f"{len(subset)} of {len(changing)} sectors after entry {start}"
        durable = overlay


def _at(base: bytes, overlay: dict[int, bytes], offset: int) -> bytes:
    return overlay.get(offset, base[offset : offset + SECTOR_BYTES])


def _lay(base: bytes, overlay: dict[int, bytes], piece: Entry) -> None:
    overlay[piece.offset] = piece.content
    if base[piece.offset : piece.offset + SECTOR_BYTES] == piece.content:
        del overlay[piece.offset]


def _sectors(entry: Entry) -> list[Entry]:
    return [
        Entry(entry.offset + at, entry.content[at : at + SECTOR_BYTES], flushes=False)
        for at in range(0, len(entry.content), SECTOR_BYTES)
    ]


def _subsets(pieces: list[Entry], chance: Generator) -> Iterator[list[Entry]]:
    if len(pieces) <= SUBSETS_WHOLE_MAX:
        for count in range(len(pieces) + 1):
            for chosen in combinations(pieces, count):
                yield list(chosen)
        return
    for place in range(len(pieces)):
        yield pieces[:place] + pieces[place + 1 :]
    for _ in range(SUBSETS):
        yield [piece for piece in pieces if chance.randrange(2)]


def _unreadable(file: Path) -> str:
    """What is wrong with the file on this disk; nothing when all three readers find old or new."""
    told = ""
    with file.open("rb") as disk:

        def read(offset: int, length: int) -> bytes:
            disk.seek(offset)
            return disk.read(length)

        try:
            found = read_root_file(read, FILE_NAME)
            if found not in CONTENTS:
                told = f"the bootloader reads {found!r:.60}"
        except FatError as error:
            told = f"the bootloader finds {error}"
    storage = LinuxStorage()
    try:
        facts = SystemFacts("boot", (), (), 2, None)
        TrybootControl(TrybootSettings(str(file)), SLOTS, storage, facts).default()
    except BootControlError as error:
        told = told or f"the agent finds {error}"
    finally:
        storage.device(str(file)).close()
    done = subprocess.run(
        ("mtype", "-i", str(file), f"::{FILE_NAME}"), check=False, capture_output=True, timeout=30
    )
    if done.returncode != 0 or done.stdout not in CONTENTS:
        told = told or f"mtype reads {done.stdout!r:.60} {done.stderr!r:.60}"
    return told
