"""Progress in words: how far a phase is, how fast it goes, and how long it will take."""

from dataclasses import dataclass
from typing import Final

from agent.flash import Phase, Progress
from agent.interfaces import Clock

SURE_S: Final = 1.0
"""Before this a rate says nothing."""


@dataclass(slots=True)
class Pace:
    """The pace of one chip's flashing; each phase has its own."""

    clock: Clock
    _phase: Phase | None = None
    _began_s: float = 0.0
    _began_bytes: int = 0

    def words(self, progress: Progress) -> str:
        """For people: `write 4096 of 65536 bytes, 5400 bytes/s, 11 s left`."""
        now_s = self.clock.monotonic_s()
        if progress.phase is not self._phase or progress.done_bytes < self._began_bytes:
            self._phase, self._began_s = progress.phase, now_s
            self._began_bytes = progress.done_bytes
        told = f"{progress.phase} {progress.done_bytes} of {progress.total_bytes} bytes"
        elapsed_s, done = now_s - self._began_s, progress.done_bytes - self._began_bytes
        if elapsed_s < SURE_S or done <= 0:
            return told
        left_s = (progress.total_bytes - progress.done_bytes) * elapsed_s / done
        return f"{told}, {done / elapsed_s:.0f} bytes/s, {left_s:.0f} s left"
