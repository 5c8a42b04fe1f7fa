"""How long to wait before trying again: full jitter, so that a fleet does not come back as one. Pure.

Source: "Exponential Backoff And Jitter", full jitter: uniform from 0 to min(cap, base * 2^n).
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # a glance has no time for all of the seams
    from agent.interfaces import Random

BASE_S: Final = 5.0
STEPS_MAX: Final = 16


def full_jitter(random: "Random", failures: int, cap_s: float) -> float:
    """Seconds to wait after this many failures in a row."""
    return random.uniform(0.0, min(cap_s, BASE_S * 2.0 ** min(failures, STEPS_MAX)))
