"""A real temporary folder in memory: python-tuf opens its own files and takes only a path."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")  # noqa: S108  # the memory-backed file system of Linux


class SimulatedScratch:
    """The `Scratch` of simulated devices; in `/dev/shm` where the system has it.

    Storms and explorers open one for every refresh: plain names cost half of what objects do.
    """

    def folder(self, content: Mapping[str, bytes]) -> AbstractContextManager[str]:
        """A new folder that holds these files, by its path; gone when the context ends."""
        return _folder(content)

    def collect(self, path: str) -> dict[str, bytes]:
        """The files in the folder now, by name relative to it."""
        return dict(sorted(_files(path, "")))


def _files(folder: str, prefix: str) -> Iterator[tuple[str, bytes]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file(follow_symlinks=False):
                with open(entry.path, "rb") as file:  # noqa: PTH123  # fast, see above
                    yield prefix + entry.name, file.read()


@contextmanager
def _folder(content: Mapping[str, bytes]) -> Iterator[str]:
    path = tempfile.mkdtemp(prefix="lockgate-sim-", dir=MEMORY if MEMORY.is_dir() else None)
    try:
        for folder in {name.rpartition("/")[0] for name in content} - {""}:
            os.makedirs(f"{path}/{folder}")  # noqa: PTH103  # fast, see above
        for name, data in content.items():
            with open(f"{path}/{name}", "wb") as file:  # noqa: PTH123  # fast, see above
                file.write(data)
        yield path
    finally:
        shutil.rmtree(path)
