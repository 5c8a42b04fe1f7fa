"""`Random` on Linux: the kernel's random numbers."""

import os
from typing import Final

TOKEN_BYTES: Final = 16
CHANCE_BYTES: Final = 6
"""48 bits, which a float holds exactly."""


class LinuxRandom:
    """Chance from getrandom(2), so that devices of one image do not draw the same numbers."""

    def uniform(self, low: float, high: float) -> float:
        """A number between low and high."""
        chance = int.from_bytes(os.urandom(CHANCE_BYTES), "big") / 256**CHANCE_BYTES
        return low + (high - low) * chance

    def token(self) -> str:
        """32 hexadecimal digits that nobody can guess."""
        return os.urandom(TOKEN_BYTES).hex()
