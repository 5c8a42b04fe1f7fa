"""`Random` on Linux: the kernel's random numbers."""

import os
import random

TOKEN_BYTES = 16


class LinuxRandom:
    """Chance from getrandom(2), so that devices of one image do not draw the same numbers."""

    def uniform(self, low: float, high: float) -> float:
        """A number between low and high."""
        return random.SystemRandom().uniform(low, high)

    def token(self) -> str:
        """32 hexadecimal digits that nobody can guess."""
        return os.urandom(TOKEN_BYTES).hex()
