"""Ways to install an image from which one safety rule was taken out."""

from collections.abc import Callable
from functools import partial
from typing import Final

from agent.device import Device
from agent.install import Install, Job, Meter, Part, Piece, install
from agent.interfaces import BlockDevice, Repository
from agent.journal import Journal
from agent.payload import WindowEntry
from agent.pieces import Pieces
from agent.runner import Hooks, Runner

FLUSH_BYTES: Final = 2600
"""The first window of the small images and two more."""


class FirstWindowFirst(Part):
    """Writes the window that makes the part able to start before all others."""

    def _bring_first(self) -> None:
        super()._bring_first()
        self.write_first()

    def write_first(self) -> None:
        if self._device.read(0, len(self._first)) != self._first:
            super().write_first()


class NoInvalidation(Part):
    """Leaves the old first window where it is while the rest changes."""

    def invalidate(self) -> None:
        return


class NoReadBack(Part):
    """Believes that what was written has arrived."""

    def _compare(self, pieces: list[Piece]) -> None:
        del pieces


class _NeverFlushed:
    """A device whose flush is forgotten."""

    def __init__(self, device: BlockDevice) -> None:
        self.device = device

    @property
    def size_bytes(self) -> int:
        return self.device.size_bytes

    def read(self, offset: int, length_bytes: int) -> bytes:
        return self.device.read(offset, length_bytes)

    def write(self, offset: int, content: bytes) -> None:
        self.device.write(offset, content)

    def holds(self, offset: int, content: bytes) -> bool:
        return self.device.holds(offset, content)

    def flush_behind(self) -> None:
        return

    def flush(self) -> None:
        return


class _PageCache(_NeverFlushed):
    """A device that answers reads from memory: what was written, never what has arrived."""

    def __init__(self, device: BlockDevice) -> None:
        super().__init__(device)
        self._memory: bytearray | None = None

    def read(self, offset: int, length_bytes: int) -> bytes:
        return bytes(self._all()[offset : offset + length_bytes])

    def write(self, offset: int, content: bytes) -> None:
        self._all()[offset : offset + len(content)] = content
        super().write(offset, content)

    def holds(self, offset: int, content: bytes) -> bool:
        return self.read(offset, len(content)) == content

    def flush_behind(self) -> None:
        self.device.flush_behind()

    def flush(self) -> None:
        self.device.flush()

    def _all(self) -> bytearray:
        if self._memory is None:
            self._memory = bytearray(self.device.read(0, self.size_bytes))
        return self._memory


class FetchesAll(Part):
    """Fetches and writes windows that the slot already holds."""

    def _holds(self, entry: WindowEntry) -> bool:
        del entry
        return False


class TrustsTheOffset(Part):
    """Takes the last window that is there as proof of all before it, as a stored offset would be."""

    _trusted = -1

    def write_body(self) -> None:
        held = [number for number, entry in enumerate(self._entries) if self._holds(entry)]
        self._trusted = max(held, default=-1)
        super().write_body()

    def _holds(self, entry: WindowEntry) -> bool:
        return self._entries.index(entry) <= self._trusted or super()._holds(entry)


def installing(part: type[Part], flush_bytes: int = FLUSH_BYTES) -> Pieces:
    """The agent with this way to write a part."""
    return with_install(partial(install, flush_bytes=flush_bytes, make_part=part))


def with_install(way: Install) -> Pieces:
    """The agent with this way to install."""
    return Pieces(runner=partial(Runner, install=way))


def through(wrap: Callable[[BlockDevice], BlockDevice]) -> Pieces:
    """The agent with another device between the installation and the medium."""

    def way(
        jobs: tuple[Job, ...], repository: Repository, meter: Meter, progress: Callable[[], None]
    ) -> None:
        wrapped = tuple(Job(job.installation, wrap(job.device), job.base) for job in jobs)
        install(wrapped, repository, meter, progress, flush_bytes=FLUSH_BYTES)

    return with_install(way)


class IntoTheRunningSlot(Runner):
    """Mistakes the slot that runs for the standby one."""

    def __init__(self, device: Device, journal: Journal, hooks: Hooks) -> None:
        super().__init__(device, journal, hooks, self._install_there)

    def _install_there(
        self,
        jobs: tuple[Job, ...],
        repository: Repository,
        meter: Meter,
        progress: Callable[[], None],
    ) -> None:
        running = self._device.boot.booted()
        turned = tuple(
            Job(job.installation, self._device.part(running, job.installation.part)) for job in jobs
        )
        install(turned, repository, meter, progress, flush_bytes=FLUSH_BYTES)


INSTALLATIONS: Final = {
    "writes the first window first": (installing(FirstWindowFirst), "bootable"),
    "does not invalidate before it writes": (installing(NoInvalidation), "bootable"),
    "does not read back": (installing(NoReadBack), "installed_means_read_back"),
    "reads back from memory": (through(_PageCache), "installed_means_read_back"),
    "does not flush what it wrote": (through(_NeverFlushed), "installed_means_read_back"),
    "flushes too seldom": (installing(Part, 10**9), "little_is_lost"),
    "fetches what it holds": (installing(FetchesAll), "only_the_missing_is_fetched"),
    "trusts an offset instead of content": (installing(TrustsTheOffset), "ends_as_it_must"),
    "writes the running slot": (Pieces(runner=IntoTheRunningSlot), "running_slot_never_written"),
}
