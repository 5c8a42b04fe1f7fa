"""`lockgate install --reboot no` on slots from which a kill takes what was not flushed, as a power cut does.

    python -m benchmarks.interrupted_device CONFIG SEED

Un-flushed writes are kept in this process; of some a part is on the medium already, in any order.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Final

from agent.commands.by_hand import ByHand
from agent.commands.setup import read_setup
from agent.device import Device
from agent.interfaces import BlockDevice
from agent.linux.block_device import LinuxBlockDevice
from agent.linux.lock import StateLock
from agent.linux.world import local_world
from agent.policy import Proceed, decide

SECTOR_BYTES: Final = 512


@dataclass(slots=True)
class LossyBlockDevice:
    """`BlockDevice` whose writes reach the one below at a flush; before it in part, or not at all."""

    below: BlockDevice
    chance: Random
    note: Callable[[int], None]
    _pending: list[tuple[int, bytes]] = field(default_factory=list)
    _begun: int = 0

    @property
    def size_bytes(self) -> int:
        """The size of the device."""
        return self.below.size_bytes

    def read(self, offset: int, length_bytes: int) -> bytes:
        """The newest bytes, flushed or not."""
        content = bytearray(self.below.read(offset, length_bytes))
        for start, written in self._pending:
            first, last = max(start, offset), min(start + len(written), offset + length_bytes)
            if first < last:
                content[first - offset : last - offset] = written[first - start : last - start]
        return bytes(content)

    def write(self, offset: int, content: bytes) -> None:
        """Keep it; by chance all of it, some of its sectors or nothing would survive a cut."""
        match self.chance.randrange(3):
            case 0:
                self.below.write(offset, content)
            case 1:
                for start in range(0, len(content), SECTOR_BYTES):
                    if self.chance.randrange(2):
                        self.below.write(offset + start, content[start : start + SECTOR_BYTES])
            case _:
                pass
        self._pending.append((offset, bytes(content)))
        self.note(len(content))

    def holds(self, offset: int, content: bytes) -> bool:
        """Whether a read finds this content."""
        return self.read(offset, len(content)) == content

    def flush_behind(self) -> None:
        """Make durable what was written before the call before this one: as late as it may be."""
        self._keep(self._begun)
        self._begun = len(self._pending)

    def flush(self) -> None:
        """Make everything durable."""
        self._keep(len(self._pending))
        self._begun = 0

    def _keep(self, count: int) -> None:
        for offset, content in self._pending[:count]:
            self.below.write(offset, content)
        del self._pending[:count]
        self.below.flush()


@dataclass(slots=True)
class LossyStorage:
    """`Storage` of such devices."""

    chance: Random
    counted: Path
    _written_bytes: int = 0
    _devices: dict[str, BlockDevice] = field(default_factory=dict)

    def device(self, path: str) -> BlockDevice:
        """The device at this path, the same each time."""
        if path not in self._devices:
            self._devices[path] = LossyBlockDevice(LinuxBlockDevice(path), self.chance, self._note)
        return self._devices[path]

    def _note(self, written_bytes: int) -> None:
        """Let others know also when this process is killed."""
        self._written_bytes += written_bytes
        with self.counted.open("r+b" if self.counted.exists() else "xb") as file:
            file.write(self._written_bytes.to_bytes(8, "little"))  # one write: whole, or as it was


def install(device: Device) -> int:
    """Take what is signed for this device, up to the reboot; the exit status."""
    hand = ByHand(device, draw=False)
    if hand.begin() is None:
        with device.session() as session:
            facts = device.policy_facts(hand.runner.journal, hurry=True)
            decision = decide(session.rollouts(), session.halts(), facts, device.now())
        assert isinstance(decision, Proceed), "there is something to install"
        hand.runner.accept(decision.rollout)
    hand.install()
    return hand.finish(reboot=False).exit_status


def main() -> int:
    """Install once."""
    setup = read_setup(argparse.Namespace(config=sys.argv[1]))
    world = local_world(setup.config)
    lossy = replace(
        world, storage=LossyStorage(Random(sys.argv[2]), Path(sys.argv[1]).with_name("written"))
    )
    with StateLock(setup.config.paths.state):
        return install(setup.open(lossy))


if __name__ == "__main__":
    sys.exit(main())
