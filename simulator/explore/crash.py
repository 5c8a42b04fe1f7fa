"""All the durable states that a power cut may leave at one moment, without running anything.

The model: files are as they were when the cut came. Of the writes that no flush has completed any subset
survives; one that does not may have left its first or its last sectors behind. With at most six such
writes all subsets are taken; with more every prefix, each one dropped, each one alone, and a seeded
handful. Chips may keep their power, lose it with the host, or lose it in the middle of an operation of
their flash; each of these meets each subset of the writes.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from random import Random as Generator
from typing import Final

from simulator.block_device import SECTOR_BYTES, PendingWrite
from simulator.explore.state import ChipState, DurableState, Fingerprints, Stored

SUBSETS_MAX: Final = 6
"""Up to so many un-flushed writes every subset of them is taken."""
HANDFUL: Final = 16


class Extent(IntEnum):
    """How much of an un-flushed write has reached the medium."""

    WHOLE = 0
    HEAD = 1
    TAIL = 2


Survivor = tuple[int, Extent]
Recipe = tuple[Survivor, ...]
"""Which un-flushed writes survive, by their place in the order in which they were written."""


@dataclass(frozen=True, slots=True)
class Unflushed:
    """One un-flushed write and its device."""

    path: str
    write: PendingWrite


@dataclass(frozen=True, slots=True)
class ChipFate:
    """What all the chips keep when the host's power fails, and why, in words."""

    told: str
    chips: Mapping[str, ChipState]


NO_CHIPS: Final = ChipFate("", {})


@dataclass(frozen=True, slots=True)
class Leaving:
    """What a cut leaves: the writes that survive, and what becomes of the chips."""

    recipe: Recipe
    fate: ChipFate = NO_CHIPS

    @property
    def told(self) -> str:
        """Which of the un-flushed writes survived, and how the chips fared, in words."""
        words = [f"{place + 1} {extent.name.lower()}" for place, extent in self.recipe]
        survivors = f"survivors {', '.join(words) or 'none'}"
        return f"{survivors}; {self.fate.told}" if self.fate.told else survivors


@dataclass(frozen=True, slots=True)
class Picture:
    """A device between two operations: what is durable, and what is not yet.

    The first of the `fates` is that of chips that keep their power.
    """

    files: Mapping[str, bytes]
    devices: Mapping[str, bytes]
    stored: tuple[Stored, ...]
    pending: tuple[Unflushed, ...] = ()
    fates: tuple[ChipFate, ...] = field(default=(NO_CHIPS,))

    @property
    def durable(self) -> DurableState:
        """What survives for certain when only the host loses its power."""
        return DurableState(self.files, self.devices, self.stored, self.fates[0].chips)


def crash_states(picture: Picture, prints: Fingerprints) -> dict[int, Leaving]:
    """Every durable state that a cut in this moment may leave, by name, and how it comes about."""
    chips = prints.chips(picture.fates[0].chips)
    base = prints.state(picture.durable) ^ chips
    changes = _Changes(picture, prints)
    fates = [(prints.chips(fate.chips), fate) for fate in picture.fates]
    found: dict[int, Leaving] = {}
    for recipe in recipes(len(picture.pending), base):
        name = base ^ changes.difference(recipe)
        for chips, fate in fates:
            if name ^ chips not in found:
                found[name ^ chips] = Leaving(recipe, fate)
    return found


def recipes(count: int, seed: int = 0) -> Iterator[Recipe]:
    """Which of so many un-flushed writes survive: whole subsets first, then those with a torn one."""
    for subset in _subsets(count, seed):
        whole = tuple((place, Extent.WHOLE) for place in subset)
        yield whole
        kept = set(subset)
        for place in range(count):
            if place not in kept:
                for extent in (Extent.HEAD, Extent.TAIL):
                    yield tuple(sorted((*whole, (place, extent))))


def leave(picture: Picture, leaving: Leaving) -> DurableState:
    """The durable state itself."""
    devices = _left(picture, leaving.recipe)
    return DurableState(picture.files, devices, picture.stored, leaving.fate.chips)


def _left(picture: Picture, recipe: Recipe) -> Mapping[str, bytes]:
    devices = dict(picture.devices)
    for place, extent in recipe:
        path = picture.pending[place].path
        content = bytearray(devices[path])
        for piece in _pieces(picture.pending[place].write, extent):
            content[piece.offset : piece.offset + len(piece.content)] = piece.content
        devices[path] = bytes(content)
    return devices


def _subsets(count: int, seed: int) -> Iterable[tuple[int, ...]]:
    if count <= SUBSETS_MAX:
        return [
            tuple(place for place in range(count) if mask >> place & 1)
            for mask in range(1 << count)
        ]
    everything = tuple(range(count))
    chance = Generator(seed)  # noqa: S311  # repeatable on purpose
    return [
        *(everything[:length] for length in range(count + 1)),
        *(everything[:place] + everything[place + 1 :] for place in everything),
        *((place,) for place in everything),
        *(tuple(p for p in everything if chance.randrange(2)) for _ in range(HANDFUL)),
    ]


def _pieces(write: PendingWrite, extent: Extent) -> tuple[PendingWrite, ...]:
    pieces = write.sectors()
    half = len(pieces) // 2
    match extent:
        case Extent.WHOLE:
            return pieces
        case Extent.HEAD:
            return pieces[:half]
        case Extent.TAIL:
            return pieces[half:] if half else ()


class _Changes:
    """What each survivor changes in the name of a state."""

    def __init__(self, picture: Picture, prints: Fingerprints) -> None:
        self._picture = picture
        self._prints = prints
        self._known: dict[Recipe, int] = {}
        boot_state = prints.copies.paths
        self._boot = frozenset(
            place for place, one in enumerate(picture.pending) if one.path in boot_state
        )
        touched = [
            (one.path, piece.offset // SECTOR_BYTES)
            for place, one in enumerate(picture.pending)
            if place not in self._boot
            for piece in one.write.sectors()
        ]
        self._apart = len(touched) == len(set(touched))

    def difference(self, recipe: Recipe) -> int:
        """The exclusive or between the names without and with these survivors."""
        difference = 0
        if self._boot:
            difference = self._once(tuple(one for one in recipe if one[0] in self._boot))
            recipe = tuple(one for one in recipe if one[0] not in self._boot)
        if not self._apart:  # what is written later covers what was written before
            return difference ^ self._once(recipe)
        for survivor in recipe:
            difference ^= self._once((survivor,))
        return difference

    def _once(self, recipe: Recipe) -> int:
        known = self._known.get(recipe)
        if known is None:
            boot = bool(recipe) and recipe[0][0] in self._boot
            effect = self._boot_effect if boot else self._effect
            known = self._known[recipe] = effect(recipe)
        return known

    def _boot_effect(self, recipe: Recipe) -> int:
        left = _left(self._picture, recipe)
        return self._prints.boot_state(self._picture.devices) ^ self._prints.boot_state(left)

    def _effect(self, recipe: Recipe) -> int:
        sectors: dict[tuple[str, int], bytes] = {}
        for place, extent in recipe:
            one = self._picture.pending[place]
            for piece in _pieces(one.write, extent):
                number, inside = divmod(piece.offset, SECTOR_BYTES)
                key = (one.path, number)
                old = sectors.get(key) or self._old(key)
                sectors[key] = old[:inside] + piece.content + old[inside + len(piece.content) :]
        difference = 0
        for key, content in sectors.items():
            difference ^= self._prints.sector(*key, self._old(key))
            difference ^= self._prints.sector(*key, content)
        return difference

    def _old(self, key: tuple[str, int]) -> bytes:
        path, number = key
        start = number * SECTOR_BYTES
        return self._picture.devices[path][start : start + SECTOR_BYTES]
