"""`Files` as many programs write them, without the sync of the folder: what the witnesses must find."""

import os
from dataclasses import dataclass
from pathlib import Path

from agent.interfaces import Files


@dataclass(frozen=True, slots=True)
class CarelessFiles:
    """Synced content, renamed into a folder that nobody syncs: a cut takes the name back."""

    careful: Files
    folder: Path

    def read(self, name: str) -> bytes | None:
        """As it should be, but for the sync of what was found."""
        file = self.folder / name
        return file.read_bytes() if file.exists() else None

    def replace(self, name: str, content: bytes) -> None:
        """Say that it is durable too early."""
        file = self.folder / name
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = Path(f"{file}.new")
        with new.open("wb") as unfinished:
            unfinished.write(content)
            unfinished.flush()
            os.fsync(unfinished.fileno())
        new.rename(file)

    def remove(self, name: str) -> None:
        """Say that it is gone too early."""
        (self.folder / name).unlink(missing_ok=True)

    def names(self, folder: str) -> tuple[str, ...]:
        """As it should be."""
        return self.careful.names(folder)
