"""`Clock` on Linux: the kernel's clocks, and its word on whether the date has been set from outside."""

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # a glance asks only for a date, and goes without what the rest of this needs
    from agent.interfaces import WallTime

TIMESYNC_MARKER: Final = "/run/systemd/timesync/synchronized"
TIME_ERROR: Final = 5  # adjtimex(2): "the system clock is not synchronized to a reliable server"
TIMEX_BYTES_MAX: Final = 512  # struct timex is 208 bytes on 64-bit Linux


class LinuxClock:
    """Time from the kernel.

    The date counts as synchronised when systemd-timesyncd has set it in this boot (its marker file is
    in memory), or when the kernel says so, which every other NTP client tells the kernel.
    """

    def __init__(self, timesync_marker: str = TIMESYNC_MARKER) -> None:
        self._marker = timesync_marker

    def monotonic_s(self) -> float:
        """Seconds since boot; suspended time is not counted."""
        return time.monotonic()

    def utc(self) -> datetime:
        """The system's date, whoever set it."""
        return datetime.now(UTC)

    def wall(self) -> "WallTime":
        """The system's date."""
        from agent.interfaces import WallTime  # noqa: PLC0415  # see above

        synchronised = os.access(self._marker, os.F_OK) or kernel_is_synchronised()
        return WallTime(utc=self.utc(), synchronised=synchronised)

    def sleep(self, duration_s: float) -> None:
        """Sleep; a duration that has already passed is none."""
        time.sleep(max(0.0, duration_s))


def kernel_is_synchronised() -> bool:
    """Whether adjtimex(2), asked without changing anything, vouches for the date."""
    import ctypes  # noqa: PLC0415  # see above

    status = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES_MAX))
    return status not in (-1, TIME_ERROR)
