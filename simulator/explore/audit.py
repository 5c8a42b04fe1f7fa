"""Whether states of one name behave alike: a sample of those that were not run is run after all.

A state that has the name of one that was visited is not visited, and a boot that begins like one that was
run is not run. The sample is drawn evenly, with a fixed seed, from those of these whose bytes are others than
what was run. Each of it is run as it was found, through all of its reboots, and must show the same
operations, the same states after a cut at each of them, and the same end.
"""

from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from random import Random as Generator

from simulator.explore.crash import crash_states
from simulator.explore.judge import Leg
from simulator.explore.start import Start
from simulator.explore.state import PRINT_BYTES, Fingerprints, fingerprint
from simulator.explore.visit import Visit
from simulator.explore.watch import Violation
from simulator.power import Operation


class Audit:
    """Draws the sample while states are merged, and compares.

    `merged` counts what was found and not run. Most of it is, byte for byte, what was run; `other_bytes`
    counts the states that are not, each once, and the sample is drawn from these.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.sample: list[tuple[int, Start]] = []
        self.merged = 0
        self.other_bytes = 0
        self._chance = Generator(seed)  # noqa: S311  # repeatable on purpose
        self._known: set[tuple[int, int]] = set()

    def explored(self, name: int, start: Start) -> None:
        """A state is run itself."""
        if self.size:
            self._known.add((name, _exact(start)))

    def offer(self, name: int, make: Callable[[], Start]) -> None:
        """A state was found that has the name of a known one."""
        self.merged += 1
        if not self.size:
            return
        start = make()
        key = name, _exact(start)
        if key in self._known:
            return
        self._known.add(key)
        self.other_bytes += 1
        place = self._chance.randrange(self.other_bytes)
        if len(self.sample) < self.size:
            self.sample.append((name, start))
        elif place < self.size:
            self.sample[place] = (name, start)

    def compare(
        self, start: Start, visit: Visit, way: Sequence[Leg], prints: Fingerprints
    ) -> Violation | None:
        """What is different in a run from what the boots of that name have shown."""
        seen = 0 if start.chip_cut is None else start.chip_cut.operation - 1
        if [leg.rest for leg in way] != _rests(visit, seen, prints):
            return _different("the same operations and the same states after cuts", len(way))
        last = way[-1]
        if (last.rested, last.ended, last.running) != (visit.rested, visit.ended, visit.running):
            return _different("the same end", len(way))
        return None


class Rest:
    """What is left of a boot from each of its operations on: what it does, and what cuts may leave.

    `names` has one name for each of those rests; the first is that of all.
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = operations
        self._left: list[int] = []
        self._last: Collection[int] = ()

    def add(self, left: Collection[int]) -> None:
        """The names of the states that a cut before the next operation may leave."""
        mark = self._left[-1] if left is self._last and self._left else _mark(left)
        self._left.append(mark)
        self._last = left

    def names(self) -> list[int]:
        """Name each rest, from the end on; the one behind the last operation is the end itself."""
        skipped = len(self._operations) + 1 - len(self._left)
        found = [fingerprint("end", "", str(self._left[-1]), b"")]
        for operation, mark in zip(
            reversed(self._operations[skipped:]), reversed(self._left[:-1]), strict=True
        ):
            told = f"{operation.name} {operation.detail} {mark}"
            found.append(fingerprint("rest", told, "", b"%d" % found[-1]))
        return [found[-1]] * skipped + list(reversed(found))


def _mark(left: Collection[int]) -> int:
    """A name for some names. Their exclusive or would forget what all of them have in common."""
    told = b"".join(name.to_bytes(PRINT_BYTES, "little") for name in sorted(left))
    return fingerprint("left", "", "", told)


def _rests(visit: Visit, seen: int, prints: Fingerprints) -> list[int]:
    names = []
    for begin, end in pairwise([seen, *visit.boots, len(visit.operations)]):
        rest = Rest(visit.operations[begin:end])
        last, left = None, crash_states(visit.pictures[begin], prints)
        for picture in visit.pictures[begin : end + 1]:
            left = left if picture is last else crash_states(picture, prints)
            rest.add(left)
            last = picture
        names.append(rest.names()[0])
    return names


def _exact(start: Start) -> int:
    """A name for the bytes of a state, with all that no decision reads."""
    state = start.state
    durable = (state.files.items(), state.devices.items(), state.chips.items())
    return hash((*(frozenset(one) for one in durable), state.stored, start.chip_cut))


def _different(expected: str, boots: int) -> Violation:
    told = (
        f"{expected} were expected of a state that was merged, in {boots} boots; others were found"
    )
    return Violation("same_name_means_same_behaviour", told)
