"""Seeded chance: the same seed gives the same jitter and the same names."""

from dataclasses import dataclass, field
from random import Random as Generator


@dataclass(slots=True)
class SimulatedRandom:
    """The `Random` of one simulated device."""

    seed: int
    _generator: Generator | None = field(default=None, repr=False)

    def uniform(self, low: float, high: float) -> float:
        """A number between low and high."""
        return self._chance().uniform(low, high)

    def token(self) -> str:
        """32 hexadecimal digits, the same in every run with this seed."""
        return self._chance().randbytes(16).hex()

    def _chance(self) -> Generator:
        if self._generator is None:
            self._generator = Generator(self.seed)  # noqa: S311  # repeatable on purpose
        return self._generator
