"""Small files that survive a power cut whole or not at all, on a disk that may be full or rot.

A cut before leaves the old content, one after the new; one in the middle either of them, chosen by the
operation's number so that it is the same in every run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.errors import StateError
from agent.strict import NAME
from simulator.faults import Faults, Storing
from simulator.power import Effect, Power

FULL: Final = (Storing.DISK_FULL,)
ROTTEN: Final = (Storing.BIT_ROT,)

Watcher = Callable[[str, bytes], None]


def unwatched(_name: str, _content: bytes) -> None:
    """Tell nobody."""


@dataclass(slots=True)
class SimulatedFiles:
    """The `Files` of one simulated device. `writes` counts what its medium has had to bear."""

    power: Power
    faults: Faults = field(default_factory=Faults)
    watcher: Watcher = unwatched
    content: dict[str, bytes] = field(default_factory=dict)
    writes: int = 0
    written_bytes: int = 0

    def read(self, name: str) -> bytes | None:
        """The whole content; one bit of it is wrong when it rots."""
        _check(name)
        content = self.content.get(name)
        if content and self.faults.strike(ROTTEN, name) is not None:
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :]
        return content

    def replace(self, name: str, content: bytes) -> None:
        """Store content under name."""
        _check(name)
        if self.faults.strike(FULL, name) is not None:
            raise StateError(f"{name}: cannot be written: the simulated disk is full; make room")
        with self.power.operation("Files.replace", name) as effect:
            if self._lands(effect):
                self.content[name] = bytes(content)
                self.writes += 1
                self.written_bytes += len(content)
                self.watcher(name, bytes(content))

    def remove(self, name: str) -> None:
        """Forget the file if it exists."""
        _check(name)
        if name not in self.content:
            return
        with self.power.operation("Files.remove", name) as effect:
            if self._lands(effect):
                del self.content[name]

    def names(self, folder: str) -> tuple[str, ...]:
        """The names, sorted and with the folder in front, of the files in a folder."""
        return tuple(sorted(name for name in self.content if name.rpartition("/")[0] == folder))

    def snapshot(self) -> Mapping[str, bytes]:
        """All that is durable, for an explorer of states."""
        return dict(self.content)

    def restore(self, snapshot: Mapping[str, bytes]) -> None:
        """Go back to a snapshot."""
        self.content = dict(snapshot)

    def _lands(self, effect: Effect) -> bool:
        return not effect.torn or self.power.number % 2 == 0


def _check(name: str) -> None:
    parts = name.split("/")
    wrong = [part for part in parts if not NAME.fullmatch(part) or part in (".", "..")]
    assert not wrong, f"{name!r} names no small file"
    assert len(parts) <= 2, f"{name!r} lies deeper than small files may"
