"""A device whose encryption key has rotted, while one of its chips is not where it belongs."""

from dataclasses import dataclass, field, replace

import pytest

from agent.chips import Chips
from agent.encryption import TAG_BYTES
from agent.errors import MixedError
from agent.firmware import ChipRecord
from agent.flash.entry import GpioPins
from agent.interfaces import LineSettings, Parity
from agent.journal import Installed, Journal
from agent.records import Meter
from simulator.clock import SimulatedClock
from tests.core.clients import make_client
from tests.core.test_chips import NEW, PROFILE
from tests.core.tuf_repository import make_repository


@dataclass(slots=True)
class Keeper:
    """A journal in memory."""

    journal: Journal
    meter: Meter = field(default_factory=Meter)

    def record(self, journal: Journal) -> None:
        """Keep it."""
        self.journal = journal


@dataclass(slots=True)
class SilentLine:
    """A `SerialLine` at whose other end nobody is."""

    clock: SimulatedClock = field(default_factory=SimulatedClock)

    def open(self, settings: LineSettings) -> None:
        """There is a port."""
        assert settings.parity in Parity

    def close(self) -> None:
        """It stays."""

    def write(self, content: bytes) -> None:
        """Nobody hears it."""

    def read(self, length_bytes: int, timeout_s: float) -> bytes:
        """Nothing comes."""
        assert length_bytes > 0
        self.clock.sleep(timeout_s)
        return b""

    def read_until(self, end: bytes, length_max: int, timeout_s: float) -> bytes:
        """Nothing comes."""
        assert end
        return self.read(length_max, timeout_s)

    def discard_input(self) -> None:
        """There is none."""

    def set_lines(self, *, dtr: bool | None = None, rts: bool | None = None) -> None:
        """Nobody sees them."""

    def wait(self, duration_s: float) -> None:
        """Wait."""
        self.clock.sleep(duration_s)


@dataclass(slots=True)
class SilentPorts:
    """A `SerialPorts` with such lines."""

    def line(self, path: str) -> SilentLine:
        """One of them."""
        assert path
        return SilentLine()

    def pins(self) -> GpioPins | None:
        """None."""
        return None


def test_a_key_that_rotted_does_not_keep_a_device_with_a_lost_chip_from_its_checks() -> None:
    device = make_client(make_repository()).device()
    device = replace(
        device,
        world=replace(device.world, serial=SilentPorts()),
        profile=PROFILE,
        encryption_key=b"-----BEGIN PRIVATE KEY-----\nrotten\n-----END PRIVATE KEY-----\n",
    )
    device.world.files.replace(NEW.path, b"sealed".ljust(4 * TAG_BYTES))
    keeper = Keeper(
        Journal(
            installed={"a": Installed("2026.1", 1, chips={"motor": NEW})},
            chips={"motor": ChipRecord(writing=NEW)},
        )
    )
    with pytest.raises(
        MixedError, match=r"encryption\.key"
    ):  # the error that a check goes on after
        Chips(device, keeper, lambda _: None).settle()
