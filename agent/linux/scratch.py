"""`Scratch` on Linux: short-lived folders in the runtime folder, which is in memory."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from agent.errors import StateError

PREFIX: Final = "scratch-"
PROCESSES: Final = "/proc"


class LinuxScratch:
    """Folders for python-tuf under the runtime folder, readable by their owner alone.

    Nothing here survives a power cut and nothing needs to. A folder is named after its process, so
    that the next one clears away what a killed one left. Raises `StateError`.
    """

    def __init__(self, runtime_folder: str) -> None:
        self._runtime = Path(runtime_folder)

    @contextmanager
    def folder(self, content: Mapping[str, bytes]) -> Iterator[str]:
        """A new folder with these files in it; names may have folders in front."""
        try:
            self._runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._clear_remains()
            prefix = f"{PREFIX}{os.getpid()}-"
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=self._runtime))
        except OSError as error:
            raise self._refusal(error) from error
        try:
            self._fill(folder, content)
            yield str(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def collect(self, path: str) -> dict[str, bytes]:
        """The files under the folder, also those that a link inside it names."""
        folder = Path(path)
        try:
            return {
                str(file.relative_to(folder)): file.read_bytes()
                for file in sorted(folder.rglob("*"))
                if file.is_file() and file.resolve().is_relative_to(folder.resolve())
            }
        except OSError as error:
            raise self._refusal(error) from error

    def _clear_remains(self) -> None:
        """Remove the folders of processes that are no more: memory is not to fill with them."""
        for remains in self._runtime.glob(f"{PREFIX}*-*"):
            process = remains.name.split("-")[1]
            if process.isdecimal() and not Path(PROCESSES, process).exists():
                shutil.rmtree(remains, ignore_errors=True)

    def _fill(self, folder: Path, content: Mapping[str, bytes]) -> None:
        for name, data in content.items():
            file = folder / name
            if not file.resolve().is_relative_to(folder.resolve()):
                raise StateError(f"a name inside the scratch folder was expected, {name!r} found")
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
            except OSError as error:
                raise self._refusal(error) from error

    def _refusal(self, error: OSError) -> StateError:
        return StateError(
            f"cannot use scratch space in {self._runtime}: {error.strerror or error}; "
            f"paths.runtime must be a folder in memory that lockgate may write"
        )
