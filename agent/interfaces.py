"""Every place where the agent touches the world, on one page: the lower seams.

Each protocol has one small real implementation in `agent/linux/` and one in `simulator/`, in files of
the same name. Everything above them is single-threaded, synchronous and deterministic.

Unless a method says otherwise it raises only the `UpdateError` that its protocol names, and a power
cut inside a call leaves what the protocol's docstring says.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from agent.errors import FlashLineError
from agent.message import Message as Message  # noqa: PLC0414  # it is on this page, too

if TYPE_CHECKING:
    from agent.flash.entry import GpioPins


@dataclass(frozen=True, slots=True)
class WallTime:
    """What the system clock says, and whether anyone vouches for it."""

    utc: datetime
    synchronised: bool


class Clock(Protocol):
    """Time. Boards without a real-time clock boot in the past, and say so here."""

    def monotonic_s(self) -> float:
        """Seconds since an unknown moment of this boot; never goes back."""
        ...

    def wall(self) -> WallTime:
        """The date, which may be wrong when it is not synchronised."""
        ...

    def sleep(self, duration_s: float) -> None:
        """Return after at least this many seconds."""
        ...


class Files(Protocol):
    """Small named files that survive a power cut whole or not at all. Raises `StateError`.

    Names are relative, of one or two parts of `[A-Za-z0-9._-]`, joined by `/`.
    """

    def read(self, name: str) -> bytes | None:
        """The whole content, or None when there is no such file."""
        ...

    def replace(self, name: str, content: bytes) -> None:
        """Store content under name; durable on return.

        A cut leaves the old content or the new, never a mixture and never neither.
        """
        ...

    def remove(self, name: str) -> None:
        """Forget the file if it exists; durable on return."""
        ...

    def names(self, folder: str) -> tuple[str, ...]:
        """The names, sorted and with the folder in front, of the files in a folder."""
        ...


class BlockDevice(Protocol):
    """One part of a slot, or a boot partition. Raises `InstallError`.

    A cut loses any subset of the writes since the last completed flush, and may tear one of them.
    """

    @property
    def size_bytes(self) -> int:
        """The size of the device."""
        ...

    def read(self, offset: int, length_bytes: int) -> bytes:
        """Exactly this many bytes from offset."""
        ...

    def write(self, offset: int, content: bytes) -> None:
        """Accept bytes for offset; not durable until flushed."""
        ...

    def holds(self, offset: int, content: bytes) -> bool:
        """Whether `read` would find exactly this content there."""
        ...

    def flush(self) -> None:
        """Return when all that was written is on the medium; reads after this come from there."""
        ...

    def flush_behind(self) -> None:
        """Begin a flush of all that was written, and return when the one begun before is complete.

        So what was written before the previous call is on the medium, and reads of it come from there; what
        was written since may be lost by a cut until the next call, or a `flush`, has returned.
        """
        ...


class Storage(Protocol):
    """Opens the block devices that the board profile names. Raises `InstallError`."""

    def device(self, path: str) -> BlockDevice:
        """The device at this path; the same object each time."""
        ...


class ByteStream(Protocol):
    """Bytes on their way from the repository. Raises `FetchError`."""

    def read(self, length_max: int) -> bytes:
        """At least one and at most `length_max` bytes; empty only at the end."""
        ...

    def close(self) -> None:
        """Stop fetching. A second call does nothing."""
        ...


class Repository(Protocol):
    """Where signed metadata and blobs come from; nothing it says is believed. Raises `FetchError`."""

    def open(self, path: str, offset: int, length_max: int) -> ByteStream:
        """The bytes of a file from offset on, and never more than `length_max` of them.

        Raises `NotFoundError` when there is no such file. Fewer bytes than asked for are no error
        here: a metadata file is as long as it is, and a payload's reader knows what it needs.
        """
        ...


class Broker(Protocol):
    """One MQTT session, at QoS 1. Raises `BrokerError`.

    A publication that was accepted may still be lost; only a receipt from the fleet says otherwise.
    """

    @property
    def connected(self) -> bool:
        """Whether the session is believed to be alive."""
        ...

    def connect(self, subscriptions: tuple[str, ...], will: Message) -> None:
        """Open a clean session, leave the will, subscribe; return when all of that is granted."""
        ...

    def next_message(self, timeout_s: float) -> Message | None:
        """The next message; None when the time is up or the process was woken by a local request.

        Works without a session too: then it only waits.
        """
        ...

    def publish(self, message: Message) -> None:
        """Hand a message to the session."""
        ...

    def close(self) -> None:
        """Say goodbye, if there is anyone to say it to."""
        ...


@dataclass(frozen=True, slots=True)
class SystemFacts:
    """What the running system says of itself; the boot state on disk is not asked.

    `boot_partition` and `tryboot` are the Raspberry Pi firmware's words in
    `/proc/device-tree/chosen/bootloader/`, None on boards without it. `compatible` is the device
    tree's list, empty where there is none. `boot_id` differs from boot to boot.
    """

    boot_id: str
    compatible: tuple[str, ...]
    command_line: tuple[str, ...]
    boot_partition: int | None
    tryboot: bool | None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How one health check ended, with the last line that it printed."""

    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Conditions:
    """How things are just now; None where nobody knows.

    `metered` says whether the link to the network costs money by the byte. `temperature_celsius` is that of
    the hottest place that is measured.
    """

    memory_available_bytes: int | None = None
    temperature_celsius: float | None = None
    metered: bool | None = None


class System(Protocol):
    """The running operating system."""

    def facts(self) -> SystemFacts:
        """What runs here; the same answer for the whole boot."""
        ...

    def run_check(self, command: tuple[str, ...], timeout_s: float) -> CheckResult:
        """Run one health check; a program that is missing or late has failed, it does not raise."""
        ...

    def reboot(self, argument: str) -> None:
        """Ask for a reboot with this argument, empty for none. The caller must stop soon after.

        Raises `BootControlError` when the request is refused.
        """
        ...

    def conditions(self, *, ask_link: bool) -> Conditions:
        """Memory and temperature now; the link too when it is asked for, which takes longer."""
        ...

    def make_way(self, *, low: bool) -> None:
        """Work at the lowest priority from here on, or as before again, where the system lets it."""
        ...

    def progress(self, status: str) -> None:
        """Tell the service manager that the agent is alive and what it is doing."""
        ...


class Random(Protocol):
    """Chance: jitter and names."""

    def uniform(self, low: float, high: float) -> float:
        """A number between low and high."""
        ...

    def token(self) -> str:
        """32 hexadecimal digits that nobody can guess."""
        ...


class Scratch(Protocol):
    """A folder in memory for python-tuf, which keeps files without making them durable."""

    def folder(self, content: Mapping[str, bytes]) -> AbstractContextManager[str]:
        """A new folder that holds these files, by its path; gone when the context ends."""
        ...

    def collect(self, path: str) -> dict[str, bytes]:
        """The files in the folder now, by name relative to it."""
        ...


class Parity(StrEnum):
    """The ninth bit of each character on a serial line."""

    NONE = "none"
    EVEN = "even"
    ODD = "odd"


@dataclass(frozen=True, slots=True)
class LineSettings:
    """How characters look on a serial line: eight data bits, this parity, one stop bit."""

    baud: int
    parity: Parity = Parity.NONE


class SerialLine(Protocol):
    """One serial port: bytes, deadlines, and two control lines. Raises `FlashLineError`.

    Every wait of a flasher is one of these calls, so that simulated time needs nothing else.
    """

    def open(self, settings: LineSettings) -> None:
        """Open the port, or change the settings of the open one; input from before is kept."""
        ...

    def close(self) -> None:
        """Let go of the port; a second call does nothing, and `open` opens it again."""
        ...

    def write(self, content: bytes) -> None:
        """Send all of it; returns when it is on its way."""
        ...

    def read(self, length_bytes: int, timeout_s: float) -> bytes:
        """Exactly so many bytes; fewer, perhaps none, only when the time for all of them is up."""
        ...

    def read_until(self, end: bytes, length_max: int, timeout_s: float) -> bytes:
        """All up to and with `end`; without it when the time or the length is up first."""
        ...

    def discard_input(self) -> None:
        """Forget what has arrived and was not read."""
        ...

    def set_lines(self, *, dtr: bool | None = None, rts: bool | None = None) -> None:
        """Assert (True) or release (False) the control lines; None leaves a line as it is.

        Does nothing for a line that the port does not have.
        """
        ...

    def wait(self, duration_s: float) -> None:
        """Return after at least this many seconds; bytes that arrive are kept."""
        ...


class SerialPorts(Protocol):
    """What leads to microcontrollers. Raises `FlashLineError`."""

    def line(self, path: str) -> SerialLine:
        """The port at this path, not opened yet: whether it is there shows then."""
        ...

    def pins(self) -> "GpioPins | None":
        """The pins of this computer; None where there are none."""
        ...


class NoSerialPorts:
    """The `SerialPorts` of a device without any."""

    def line(self, path: str) -> SerialLine:
        """Refuse, with `FlashLineError`."""
        raise FlashLineError(f"{path}: a serial port was expected, this device has none")

    def pins(self) -> "GpioPins | None":
        """None."""
        return None


@dataclass(frozen=True, slots=True)
class World:
    """All the seams of one device: the only thing that differs between hardware and simulation."""

    clock: Clock
    files: Files
    storage: Storage
    repository: Repository
    broker: Broker
    system: System
    random: Random
    scratch: Scratch
    serial: SerialPorts = field(default_factory=NoSerialPorts)
