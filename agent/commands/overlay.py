"""`Files` that are read from the device and written to memory: for looking without changing anything."""

from agent.interfaces import Files


class OverlayFiles:
    """What is below, as if everything written here were there too; ends with the process."""

    def __init__(self, below: Files) -> None:
        self._below = below
        self._written: dict[str, bytes | None] = {}

    def read(self, name: str) -> bytes | None:
        """What was written here, else what is below."""
        return self._written[name] if name in self._written else self._below.read(name)

    def replace(self, name: str, content: bytes) -> None:
        """Remember the content; nothing below changes."""
        self._written[name] = content

    def remove(self, name: str) -> None:
        """Remember that it is gone; nothing below changes."""
        self._written[name] = None

    def names(self, folder: str) -> tuple[str, ...]:
        """The files in a folder, from both."""
        known = set(self._below.names(folder))
        known.update(name for name in self._written if name.startswith(f"{folder}/"))
        return tuple(sorted(name for name in known if self._written.get(name, b"") is not None))
