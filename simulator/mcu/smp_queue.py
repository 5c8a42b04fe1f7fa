"""Requests that come while an SMP server works on an earlier one: what it keeps, and what it does not hear.

Source: Zephyr's `uart_mcumgr.c`, `smp_uart.c`, `serial_util.c` and `smp.c`; MCUboot's `boot_serial.c`. An
interrupt collects lines; a thread puts requests together in buffers of one pool, first come; another
handles them one after the other and takes one more buffer for each answer. A request that finds no buffer
is lost (some servers even stop there). While a processor waits for its own flash to be erased it takes
no interrupts, and its receiver loses what comes.
"""

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class FlashTimes:
    """What the chip's flash takes; nothing unless given. `stops_all` is a processor that runs from it."""

    page_erase_s: float = 0.0
    byte_write_s: float = 0.0
    stops_all: bool = False


NRF52: Final = FlashTimes(page_erase_s=0.085, byte_write_s=0.041 / 4000, stops_all=True)
"""nRF52840: 85 ms for a page, 41 microseconds for a word (its product specification)."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a request had the flash do."""

    erased_pages: int
    written_bytes: int


@dataclass(slots=True)
class SmpQueue:
    """The requests of one server, in the time of its line.

    `lines_kept` is how many lines wait for a server that puts requests together in the thread that also
    handles them, which then needs no second buffer; None where that is another thread's work.
    `lost_lines` counts what was not heard, `most_at_once` the requests that were there together.
    """

    buffer_count: int
    flash: FlashTimes = field(default_factory=FlashTimes)
    lines_kept: int | None = None
    lost_lines: int = 0
    most_at_once: int = 0
    _done_s: list[float] = field(default_factory=list)
    _deaf_s: list[tuple[float, float]] = field(default_factory=list)
    _kept_s: list[float] = field(default_factory=list)

    def hears(self, begin_s: float, end_s: float, *, first: bool) -> bool:
        """Whether a line that comes in between these moments is kept; the first of a request needs room."""
        self._forget(begin_s)
        heard = not any(begin_s < until_s and from_s < end_s for from_s, until_s in self._deaf_s)
        waiting = [moment_s for moment_s in self._done_s if moment_s > end_s]
        if heard and waiting and self.lines_kept is not None:
            heard = len(self._kept_s) < self.lines_kept
            self._kept_s += [waiting[-1]] * heard
        elif heard and waiting and first:
            heard = len(waiting) + 2 <= self.buffer_count  # theirs, an answer's, and its own
        self.lost_lines += not heard
        return heard

    def take(self, now_s: float, work: Work) -> float:
        """A whole request came and has this done; when its answer begins."""
        begin_s = max([now_s, *self._done_s[-1:]])
        erased_s = begin_s + work.erased_pages * self.flash.page_erase_s
        done_s = erased_s + work.written_bytes * self.flash.byte_write_s
        if self.flash.stops_all and erased_s > begin_s:
            self._deaf_s.append((begin_s, erased_s))
        self._done_s.append(done_s)
        waiting = [moment_s for moment_s in self._done_s if moment_s > now_s]
        self.most_at_once = max(self.most_at_once, len(waiting))
        return done_s

    def answered(self, moment_s: float) -> None:
        """The last bit of the last request's answer leaves then: its buffers are free again."""
        self._done_s[-1] = moment_s

    def _forget(self, now_s: float) -> None:
        """Leave out what is over."""
        self._done_s = [moment_s for moment_s in self._done_s if moment_s > now_s]
        self._kept_s = [moment_s for moment_s in self._kept_s if moment_s > now_s]
        self._deaf_s = [times for times in self._deaf_s if times[1] > now_s]
