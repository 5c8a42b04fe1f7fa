"""Slots to install into: loop devices where this is root, plain files elsewhere."""

import os
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


def make_slot(file: Path, length_bytes: int, *, noise: bool = True) -> None:
    """Fill a file with what no image holds, so that nobody finds anything there, or with zeros.

    It stays the same file, which a loop device may stand for; durable on return.
    """
    piece = Random(length_bytes).randbytes(min(PIECE_BYTES, length_bytes)) if noise else b""
    mode = "r+b" if file.exists() else "wb"
    with file.open(mode) as out:
        if not noise:
            out.truncate(0)
        for start in range(0, length_bytes if noise else 0, PIECE_BYTES):
            out.write(piece[: length_bytes - start])
        out.truncate(length_bytes)
        out.flush()
        os.fsync(out.fileno())


def copy_image(image: Path, file: Path) -> None:
    """A slot with an image, with its holes; durable on return."""
    subprocess.run(["cp", "--sparse=always", str(image), str(file)], check=True)
    with file.open("r+b") as out:
        os.fsync(out.fileno())
