"""Folders for their owner alone, made without `pathlib`, which takes a tenth of a glance to load."""

import os


def parent_of(path: str) -> str:
    """The folder that something is in."""
    return os.path.dirname(path) or os.curdir


def make_private(folder: str) -> None:
    """Create a folder, and what is missing above it, unless it is there already. Raises `OSError`."""
    if os.path.isdir(folder):
        return
    make_private(parent_of(folder))
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        if not os.path.isdir(folder):  # else another process was quicker
            raise
