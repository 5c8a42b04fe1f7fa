"""Flash as flash is: erased to ones by the page, programmed to zeros, and torn when the power fails.

Each erase and each program is one operation, counted from 1; the power can fail before, in the middle of
or after any of them. A torn erase leaves bits at random, a torn program a prefix and one random word
behind it, as real cells do (reliability of NOR flash under power loss).
"""

from dataclasses import dataclass, field
from random import Random as Generator
from typing import Final

from simulator.power import Moment

ERASED: Final = 0xFF
WORD: Final = 4


class ChipPowerCutError(Exception):
    """The chip's power failed inside an operation; the chip is dead until its next reset."""


class FlashFaultError(Exception):
    """The flash controller refuses: a protected page, or bits that only an erase could set."""


def even_pages(count: int, size_bytes: int) -> tuple[int, ...]:
    """The sizes of equal pages."""
    return (size_bytes,) * count


@dataclass(slots=True)
class FlashMemory:
    """One flash: its pages by size, its bytes, its protections, and when its power fails.

    `protected` pages take neither erase nor program, and say nothing, as STM32 does with write
    protection. `strict` refuses to program a word that is not erased, as STM32F1 does; else only bits
    are cleared. `operations` counts, and so do `erased_pages` and `programmed_bytes`.
    """

    start: int
    pages: tuple[int, ...]
    strict: bool = False
    protected: frozenset[int] = frozenset()
    seed: int = 0
    operations: int = 0
    erased_pages: int = 0
    programmed_bytes: int = 0
    cut_at: int | None = None
    cut_moment: Moment = Moment.BEFORE
    content: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        if not self.content:
            self.content = bytearray([ERASED]) * sum(self.pages)
        assert len(self.content) == sum(self.pages), "a flash is as long as its pages"

    @property
    def end(self) -> int:
        """The first address behind the flash."""
        return self.start + len(self.content)

    def holds(self, address: int, length_bytes: int) -> bool:
        """Whether all of this lies in the flash."""
        return self.start <= address and address + length_bytes <= self.end

    def read(self, address: int, length_bytes: int) -> bytes:
        """What is there now."""
        assert self.holds(address, length_bytes), "the chip checks addresses before it reads"
        return bytes(self.content[address - self.start :][:length_bytes])

    def page_at(self, address: int) -> int:
        """The number of the page that an address lies in."""
        place = address - self.start
        for number, size in enumerate(self.pages):
            if place < size:
                return number
            place -= size
        raise AssertionError("the chip checks addresses before it asks")

    def page_start(self, number: int) -> int:
        """The first address of a page."""
        return self.start + sum(self.pages[:number])

    def erase(self, number: int) -> None:
        """Set a page to ones. Raises `ChipPowerCutError`."""
        if number in self.protected:
            return
        self.erased_pages += 1
        place = self.page_start(number) - self.start
        size = self.pages[number]
        moment = self._begin()
        if moment is Moment.TORN:
            chance = self._chance()
            torn = bytes(
                value | chance.randrange(256) for value in self.content[place : place + size]
            )
            self.content[place : place + size] = torn
        else:
            self.content[place : place + size] = bytes([ERASED]) * size
        self._end(moment)

    def program(self, address: int, content: bytes) -> None:
        """Clear bits. Raises `ChipPowerCutError`, and `FlashFaultError` where the chip would know."""
        if self.page_at(address) in self.protected:
            return
        self.programmed_bytes += len(content)
        place = address - self.start
        before = self.content[place : place + len(content)]
        if self.strict and any(
            old not in (ERASED, new) for old, new in zip(before, content, strict=True)
        ):
            raise FlashFaultError("not erased")
        after = bytes(old & new for old, new in zip(before, content, strict=True))
        moment = self._begin()
        if moment is Moment.TORN:
            chance = self._chance()
            keep = chance.randrange(len(content))
            torn = bytes(
                old & (new | chance.randrange(256))
                for old, new in zip(before[keep:], after[keep:], strict=True)
            )
            after = after[:keep] + torn[:WORD] + bytes(before[keep + WORD :])
        self.content[place : place + len(content)] = after
        self._end(moment)

    def _begin(self) -> Moment | None:
        self.operations += 1
        moment = self.cut_moment if self.operations == self.cut_at else None
        if moment is Moment.BEFORE:
            raise ChipPowerCutError(f"before operation {self.operations}")
        return moment

    def _end(self, moment: Moment | None) -> None:
        if moment is not None:
            raise ChipPowerCutError(f"in operation {self.operations}")

    def _chance(self) -> Generator:
        return Generator(f"{self.seed}/{self.operations}")  # noqa: S311  # repeatable
