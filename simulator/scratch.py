"""A real temporary folder in memory: python-tuf opens its own files and takes only a path."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")  # noqa: S108  # the memory-backed file system of Linux


class SimulatedScratch:
    """The `Scratch` of simulated devices; in `/dev/shm` where the system has it."""

    def folder(self, content: Mapping[str, bytes]) -> AbstractContextManager[str]:
        """A new folder that holds these files, by its path; gone when the context ends."""
        return _folder(content)

    def collect(self, path: str) -> dict[str, bytes]:
        """The files in the folder now, by name relative to it."""
        root = Path(path)
        return {
            str(file.relative_to(root)): file.read_bytes()
            for file in sorted(root.rglob("*"))
            if file.is_file() and not file.is_symlink()
        }


@contextmanager
def _folder(content: Mapping[str, bytes]) -> Iterator[str]:
    parent = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="lockgate-sim-", dir=parent) as path:
        for name, data in content.items():
            file = Path(path) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        yield path
