"""Makes the images of the demonstration: real ext4 roots, and FAT boot partitions for the Pi boards."""

import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.errors import ConfigError
from simulator.fat import fat_image
from simulator.image import Behaviour, stamp_file

ROOT_BYTES: Final = 64 * 1024 * 1024
BOOT_BYTES: Final = 2 * 1024 * 1024
CONTENT_BYTES: Final = 40 * 1024 * 1024
"""How much of the root file system is filled with real files."""
CHANGED_BYTES: Final = 4 * 1024 * 1024
FIXED_UUID: Final = "10c4a7e0-0000-4000-8000-00000000000{}"
SEARCH_PATH: Final = os.pathsep.join((os.defpath, "/usr/sbin", "/sbin"))


@dataclass(frozen=True, slots=True)
class DemoImage:
    """The files of one release: the root for every board, and the boot partition for Pi boards."""

    release: str
    counter: int
    root: Path
    boot: Path


def find_program(name: str) -> str:
    """A system program's path. Raises `ConfigError` when it is not installed."""
    found = shutil.which(name) or shutil.which(name, path=SEARCH_PATH)
    if found is None:
        raise ConfigError(f"{name} was expected and is not installed; run `make setup` or use apt")
    return found


def make_image(folder: Path, release: str, counter: int, behaviour: Behaviour) -> DemoImage:
    """Write the images of one release; what they hold differs from release to release."""
    files = folder / f"files-{release}"
    _fill(files, release, counter)
    root = folder / f"root-{release}.ext4"
    subprocess.run(
        [
            *(find_program("mke2fs"), "-q", "-F", "-t", "ext4", "-b", "4096", "-L", "lockgate"),
            *("-U", FIXED_UUID.format(counter), "-d", str(files), str(root)),
            str(ROOT_BYTES // 1024) + "k",
        ],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    shutil.rmtree(files)
    stamp_file(root, behaviour)
    boot = folder / f"boot-{release}.vfat"
    kernel = random.Random(counter).randbytes(BOOT_BYTES // 4)  # noqa: S311  # content, no secret
    boot.write_bytes(
        fat_image(
            {
                "config.txt": f"# {release}\n".encode(),
                "kernel8.img": kernel,
                "start4.elf": b"\x7fELF",
            },
            BOOT_BYTES,
        )
    )
    return DemoImage(release=release, counter=counter, root=root, boot=boot)


def _fill(folder: Path, release: str, counter: int) -> None:
    """Real files of this machine, the same in every release, and some that differ."""
    library = folder / "usr" / "lib" / "python3"
    library.mkdir(parents=True)
    left = CONTENT_BYTES
    for source in sorted(Path(os.__file__).parent.rglob("*.py")):
        size = source.stat().st_size
        if "site-packages" in source.parts or size > left:
            continue
        left -= size
        target = library / source.relative_to(Path(os.__file__).parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    program = Path(sys.executable).resolve()
    (folder / "usr" / "bin").mkdir()
    shutil.copyfile(program, folder / "usr" / "bin" / "python3")
    (folder / "etc").mkdir()
    (folder / "etc" / "release").write_text(f"release {release}, counter {counter}\n")
    (folder / "opt").mkdir()
    changed = random.Random(counter).randbytes(CHANGED_BYTES)  # noqa: S311  # content, no secret
    (folder / "opt" / "application").write_bytes(changed)
