"""Slots to install into: loop devices where this is root, plain files elsewhere."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

PIECE_BYTES: Final = 16 * 1024 * 1024


@contextmanager
def slot(file: Path) -> Iterator[Path]:
    """A device whose content is this file."""
    if os.geteuid() != 0:
        yield file
        return
    command = ["losetup", "--find", "--show", str(file)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True)
    device = Path(shown.stdout.strip())
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", str(device)], check=True)


def make_slot(file: Path, length_bytes: int) -> None:
    """Fill a file with what no image holds, so that nobody finds anything there; durable on return."""
    noise = Random(length_bytes).randbytes(min(PIECE_BYTES, length_bytes))
    mode = "r+b" if file.exists() else "wb"
    with file.open(mode) as out:
        for start in range(0, length_bytes, PIECE_BYTES):
            out.write(noise[: length_bytes - start])
        out.truncate(length_bytes)
        out.flush()
        os.fsync(out.fileno())


def copy_image(image: Path, file: Path) -> None:
    """A slot with an image, durable on return."""
    shutil.copyfile(image, file)
    with file.open("r+b") as out:
        os.fsync(out.fileno())
