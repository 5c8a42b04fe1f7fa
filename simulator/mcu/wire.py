"""The wire between a host and a simulated chip, in time order, for virtual and for real time alike.

Bytes take the time that their baud rate needs, each way, reckoned from absolute moments so that a busy
computer makes nothing faster or slower; the chip sees each write when its last byte has arrived. An
answer is delivered when its last byte has, plus the latency of the host's adapter. `LineFaults` is what
can go wrong with the wire itself; what can go wrong with a chip is the chip's.
"""

import heapq
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random as Generator
from typing import Final

from agent.interfaces import LineSettings, Parity
from simulator.mcu import Chip, Pins

START_AND_STOP_BITS: Final = 2
DATA_BITS: Final = 8


def byte_s(settings: LineSettings | None) -> float:
    """How long one character takes; nothing where nobody knows the rate."""
    if settings is None or settings.baud <= 0:
        return 0.0
    parity_bits = 0 if settings.parity is Parity.NONE else 1
    return (START_AND_STOP_BITS + DATA_BITS + parity_bits) / settings.baud


@dataclass(slots=True)
class LineFaults:
    """What goes wrong on the wire; numbers of bytes count from the start, in that direction.

    `flip` and `drop` are the chance of each byte to be changed or lost, `double` to arrive twice, on the
    way to the host, and with `both_ways` also to the chip. `lose_to_chip` names bytes on the way to the
    chip that are lost.
    """

    seed: int = 0
    flip: float = 0.0
    drop: float = 0.0
    double: float = 0.0
    both_ways: bool = False
    silent_after_bytes: int | None = None
    unplugged_after_bytes: int | None = None
    lose_to_chip: frozenset[int] = frozenset()
    short_reads: int | None = None

    @property
    def quiet(self) -> bool:
        """Whether nothing is wrong."""
        return self == LineFaults(seed=self.seed)


class _Kind(Enum):
    TO_CHIP = auto()
    PINS = auto()
    RESET = auto()
    TO_HOST = auto()


_Event = tuple[float, int, _Kind, bytes, LineSettings | None, Pins | None]


@dataclass(slots=True)
class TimedWire:
    """One chip on one wire; the carrier says what time it is and takes what has arrived.

    `bytes_to_chip` and `bytes_to_host` count all traffic: with the baud rate they are the least time that
    anyone could need. `answers` counts how often the chip said something, `disturbed` the bytes that
    chance has changed, lost or doubled.
    """

    chip: Chip
    paced: bool = True
    latency_s: float = 0.0
    faults: LineFaults = field(default_factory=LineFaults)
    bytes_to_chip: int = 0
    bytes_to_host: int = 0
    answers: int = 0
    disturbed: int = 0
    _now_s: float = 0.0
    _events: list[_Event] = field(default_factory=list)
    _count: int = 0
    _to_chip_free_s: float = 0.0
    _to_host_free_s: float = 0.0
    _settings: LineSettings | None = None
    _chance: Generator | None = None

    def now_s(self) -> float:
        """The moment that the chip sees."""
        return self._now_s

    def character_s(self) -> float:
        """How long a character takes at the host's settings, if bytes take their time here."""
        return byte_s(self._settings) if self.paced else 0.0

    def send(self, content: bytes, after_s: float = 0.0) -> float:
        """The chip answers; the host has it when the last byte has passed the adapter."""
        start_s = max(self._now_s + after_s, self._to_host_free_s)
        self._to_host_free_s = start_s + self._duration_s(content)
        self.bytes_to_host += len(content)
        self.answers += 1
        self._add(self._to_host_free_s + self.latency_s, _Kind.TO_HOST, content)
        return self._to_host_free_s

    def from_host(self, now_s: float, content: bytes, settings: LineSettings | None) -> None:
        """The host writes at this moment."""
        self._settings = settings
        arrives = self._survivors(content)
        self.bytes_to_chip += len(content)
        start_s = max(now_s, self._to_chip_free_s)
        self._to_chip_free_s = start_s + self._duration_s(content)
        self._add(self._to_chip_free_s, _Kind.TO_CHIP, arrives, settings)

    def set_pins(self, now_s: float, pins: Pins) -> None:
        """The host moves its control lines, after what it has written before."""
        self._add(max(now_s, self._to_chip_free_s), _Kind.PINS, b"", None, pins)

    def reset(self, now_s: float) -> None:
        """Somebody gives the chip its power back, or resets it; what is on its way to it is lost."""
        self._events = [event for event in self._events if event[2] is not _Kind.TO_CHIP]
        heapq.heapify(self._events)
        self._to_chip_free_s = self._to_host_free_s = now_s
        self._add(now_s, _Kind.RESET, b"")

    def next_s(self) -> float | None:
        """When something happens next, None when nothing is on its way."""
        return self._events[0][0] if self._events else None

    def run_until(self, now_s: float) -> bytes:
        """Let all of it happen up to this moment; what has arrived at the host."""
        arrived = bytearray()
        while self._events and self._events[0][0] <= now_s:
            moment_s, _, kind, content, settings, pins = heapq.heappop(self._events)
            self._now_s = max(self._now_s, moment_s)
            match kind:
                case _Kind.TO_HOST:
                    arrived += self._disturbed(content)
                case _Kind.TO_CHIP:
                    self.chip.receive(content, settings, self)
                case _Kind.RESET:
                    self.chip.power_on(self)
                case _:
                    assert pins is not None, "only pins are left"
                    self.chip.pins(pins, self)
        self._now_s = max(self._now_s, now_s)
        return bytes(arrived)

    def _add(
        self,
        moment_s: float,
        kind: _Kind,
        content: bytes,
        settings: LineSettings | None = None,
        pins: Pins | None = None,
    ) -> None:
        self._count += 1
        heapq.heappush(self._events, (moment_s, self._count, kind, content, settings, pins))

    def _duration_s(self, content: bytes) -> float:
        return len(content) * self.character_s()

    def _survivors(self, content: bytes) -> bytes:
        lost, first = self.faults.lose_to_chip, self.bytes_to_chip
        if lost:
            content = bytes(
                value for place, value in enumerate(content, first) if place not in lost
            )
        return self._by_chance(content) if self.faults.both_ways else content

    def _disturbed(self, content: bytes) -> bytes:
        faults = self.faults
        if faults.silent_after_bytes is not None and self.bytes_to_host > faults.silent_after_bytes:
            return b""
        return content if faults.quiet else self._by_chance(content)

    def _by_chance(self, content: bytes) -> bytes:
        faults = self.faults
        if self._chance is None:
            self._chance = Generator(faults.seed)  # noqa: S311  # repeatable
        heard = bytearray()
        for value in content:
            if self._chance.random() < faults.drop:
                self.disturbed += 1
                continue
            flipped = self._chance.random() < faults.flip
            heard.append(value ^ (1 << self._chance.randrange(8)) if flipped else value)
            doubled = self._chance.random() < faults.double
            if doubled:
                heard.append(value)
            self.disturbed += flipped + doubled
        return bytes(heard)
