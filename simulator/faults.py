"""What may go wrong in a simulated world, as data; the devices of that world act it out.

What may fail together, and what the agent promises then:

* Power: a cut at any operation, and again at any operation of the recovery. Nothing is lost.
* Storage: all that `BlockDevice` allows at a cut: un-flushed writes lost in any order, one torn.
* Small files: the disk is full for a while; a file that rots while the power is on. The agent goes on
  with what it has or reports; it never trusts less than before.
* Network: the repository misses files, cuts them short, lies, stalls, serves an old snapshot; the
  broker duplicates, replays, drops, disconnects, accepts and loses. Each for a bounded number of times:
  while it lasts nothing wrong is installed, and once it stops the world must become quiet.
* Time: no battery, no network time, a date that is set wrong.
* System: checks that fail, a reboot that is refused once, a reboot that forgets its argument.

What may not fail: the medium below a completed flush (a device that lies about flushing can only be
detected), the processor, and more than half of the offline keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from random import Random as Generator


class Fetch(StrEnum):
    """How a request to the repository goes wrong."""

    MISSING = "missing"
    TRUNCATED = "truncated"
    WRONG_BYTES = "wrong-bytes"
    STALLED = "stalled"


class Delivery(StrEnum):
    """How a message to or from the device goes wrong."""

    DUPLICATED = "duplicated"
    REPLAYED = "replayed"
    DROPPED = "dropped"
    DISCONNECTED = "disconnected"
    ACCEPTED_AND_LOST = "accepted-and-lost"


class Reboot(StrEnum):
    """How a request to reboot goes wrong."""

    REFUSED = "refused"
    ARGUMENT_DROPPED = "argument-dropped"


class Health(StrEnum):
    """How a health check goes wrong."""

    FLAPS = "flaps"


class Storing(StrEnum):
    """How a small file goes wrong."""

    DISK_FULL = "disk-full"
    BIT_ROT = "bit-rot"


Kind = Fetch | Delivery | Reboot | Health | Storing


@dataclass(slots=True)
class Fault:
    """One fault: for names that match the pattern, so many times, after so many that went well."""

    kind: Kind
    pattern: str = "*"
    times: int = 1
    after: int = 0


@dataclass(slots=True)
class Faults:
    """All the faults that are still to come in one world; an empty one does no harm."""

    waiting: list[Fault] = field(default_factory=list)
    happened: list[tuple[Kind, str]] = field(default_factory=list)

    def add(self, kind: Kind, pattern: str = "*", times: int = 1, after: int = 0) -> None:
        """Let this go wrong from now on."""
        self.waiting.append(Fault(kind, pattern, times, after))

    def clear(self) -> None:
        """Nothing goes wrong any more: now the world must become quiet."""
        self.waiting.clear()

    def strike(self, kinds: Sequence[Kind], name: str) -> Kind | None:
        """Which of these kinds happens to this name now; it is used up by being asked for."""
        for fault in self.waiting:
            if fault.kind not in kinds or not fnmatchcase(name, fault.pattern):
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            fault.times -= 1
            if fault.times <= 0:
                self.waiting.remove(fault)
            self.happened.append((fault.kind, name))
            return fault.kind
        return None


def seeded_faults(seed: int, count: int) -> Faults:
    """A bounded handful of network and storage faults, and perhaps one reboot that goes wrong.

    The same seed gives the same ones.
    """
    chance = Generator(seed)  # noqa: S311  # repeatable on purpose
    kinds: list[Kind] = [*Fetch, *Delivery, Storing.DISK_FULL]
    faults = [
        Fault(kind=chance.choice(kinds), times=chance.randint(1, 3), after=chance.randint(0, 12))
        for _ in range(count)
    ]
    if chance.randrange(2):
        faults.append(Fault(kind=chance.choice(list(Reboot))))
    return Faults(faults)
