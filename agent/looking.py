"""Decides where a slot is looked at before it is written, which costs as much as writing it. Pure."""

from collections.abc import Callable
from typing import Final

MISSES_IN_A_ROW: Final = 64
"""So many windows are looked at in vain, which costs as much as writing them, before it is done less.

Where one window in so many is held, or more, hardly any of these is then fetched and written for nothing.
"""
LOOK_EVERY: Final = 4
LOOKS: Final = 64
"""After more misses it is looked only so often in as many windows as were missed already.

So what is fetched or written for nothing before the slot is found to hold more is a small part of all.
"""


class Looking:
    """Decides where a slot is looked at: seldom where it holds something else for long.

    What a cut left was written in order, so it is found whole: one hit and all are looked at again.
    """

    def __init__(self) -> None:
        self._misses = 0

    def holds(self, number: int, look: Callable[[], bool]) -> bool:
        """Whether a window is there; False also for one that is not looked at."""
        every = max(LOOK_EVERY, self._misses // LOOKS)
        held = (self._misses < MISSES_IN_A_ROW or number % every == 0) and look()
        self._misses = 0 if held else self._misses + 1
        return held
