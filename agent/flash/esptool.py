"""`Flasher` for Espressif's chips through their maker's own program, `esptool`, which is not ours.

It runs as a program with a deadline and never in this process, on the port that the agent lends it. The ROM
erases a region before it writes and computes an MD5 of what the flash holds. The first sector is emptied
first and written last, so that half an image does not start; the ROM cannot be harmed and is entered by
wires. Sources: Espressif, "esptool documentation": commands, "Serial Protocol", "Boot Mode Selection".
"""

from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from agent.errors import (
    FlashIdentityError,
    FlashImageError,
    FlashLineError,
    FlashRefusedError,
    FlashVerifyError,
)
from agent.flash import (
    ERASED,
    ChipImage,
    FlashPlan,
    Identity,
    OnProgress,
    Phase,
    Progress,
    Recovery,
    Region,
)
from agent.interfaces import CheckResult, LineSettings, SerialLine

CHIPS: Final = (
    *("esp32", "esp32c2", "esp32c3", "esp32c5", "esp32c6", "esp32h2", "esp32p4", "esp32s2"),
    "esp32s3",
)
"""By the names that the program knows; the ESP8266 has no MD5 in its ROM."""
PROGRAM: Final = "esptool"
SECTOR_BYTES: Final = 4096
FLASH_BYTES_MAX: Final = 32 * 1024 * 1024
START_S: Final = 60.0
"""For the program to start on a small computer, and to find the chip: it tries ten times."""
BYTES_PER_S_MIN: Final = 1000.0
"""Erased, written and read at least this fast, whatever the baud rate."""
OTHER_CHIP: Final = "Wrong chip argument"


@runtime_checkable
class LendableLine(Protocol):
    """A `SerialLine` whose port another program can use."""

    def lend(self, command: tuple[str, ...], content: bytes, timeout_s: float) -> CheckResult:
        """Close the port and run a program on it, at most this long; `open` opens the port again.

        `{port}` in its arguments is the port's name, `{image}` that of a file with the content.
        Raises `FlashRefusedError` when there is no such program.
        """
        ...


@dataclass(frozen=True, slots=True)
class EsptoolSettings:
    """One kind of chip. `flash_bytes` is its flash; with `own_reset` the program moves DTR and RTS itself.

    `stub` lets it run a program of its own in the chip's memory, which is faster and needs a chip that
    allows that.
    """

    chip: str
    flash_bytes: int
    baud: int
    own_reset: bool
    stub: bool = False

    @property
    def line(self) -> LineSettings:
        """The characters on the line."""
        return LineSettings(self.baud)


class Esptool:
    """One chip in its ROM's loader, spoken to by another program."""

    recovery: Final = Recovery.ROM

    def __init__(self, line: SerialLine, settings: EsptoolSettings) -> None:
        self._line = line
        self._settings = settings

    def identify(self) -> Identity:
        """The program refuses a chip that is not of the named kind."""
        found = self._run("chip-id")
        if OTHER_CHIP in found.detail:
            raise FlashIdentityError(
                f"an {self._settings.chip} was expected, esptool says: {found.detail}"
            )
        if not found.passed:
            raise self._unheard(found)
        return Identity(self._settings.chip, "ROM")

    def plan(self, image: ChipImage, progress: OnProgress) -> FlashPlan:
        """All or nothing: the MD5 of the whole image says whether the chip holds it."""
        region = self._region(image)
        same = self._holds(region)
        progress(Progress(Phase.COMPARE, image.length_bytes, image.length_bytes))
        if same:
            return FlashPlan((), (), image.length_bytes)
        first = Region(region.start, region.content[:SECTOR_BYTES])
        rest = Region(first.end, region.content[SECTOR_BYTES:])
        empty = Region(first.start, bytes([ERASED]) * len(first.content))
        writes = (empty, rest, first) if rest.content else (first,)
        return FlashPlan((region.start // SECTOR_BYTES,), writes, 0)

    def write(self, plan: FlashPlan, progress: OnProgress) -> None:
        """In the plan's order, each with the program's own check behind it."""
        done = 0
        for region in plan.writes:
            progress(Progress(Phase.WRITE, done, plan.write_bytes))
            found = self._run("write-flash", hex(region.start), "{image}", content=region.content)
            if not found.passed:
                self.identify()  # a chip that does not answer is not one that refuses
                raise FlashVerifyError(
                    f"the image was to be written at {region.start:#x}, esptool says: {found.detail}"
                )
            done += len(region.content)
        progress(Progress(Phase.WRITE, done, plan.write_bytes))

    def verify(self, image: ChipImage, progress: OnProgress) -> None:
        """Have the ROM compute the MD5 of what it holds."""
        if not self._holds(self._region(image)):
            self.identify()  # a chip that does not answer is not one that holds something else
            raise FlashVerifyError(
                f"the image was expected at {image.regions[0].start:#x}, the chip's MD5 is of other "
                "bytes: its flash is worn out, or it says what is not true"
            )
        progress(Progress(Phase.VERIFY, image.length_bytes, image.length_bytes))

    def start(self) -> None:
        """Reset into the image, where the program moves the lines; else the entry's wires do."""
        if self._settings.own_reset:
            found = self._run("chip-id", after="hard-reset")
            if not found.passed:
                raise self._unheard(found)

    def _region(self, image: ChipImage) -> Region:
        region = image.regions[0]
        if len(image.regions) != 1 or region.start % SECTOR_BYTES:
            raise FlashImageError(
                f"one region from a multiple of {SECTOR_BYTES} on was expected, "
                f"{len(image.regions)} from {region.start:#x} found; merge the image"
            )
        if region.end > self._settings.flash_bytes:
            raise FlashImageError(
                f"an image that ends before {self._settings.flash_bytes:#x} was expected, it ends at "
                f"{region.end:#x}"
            )
        return region

    def _holds(self, region: Region) -> bool:
        return self._run(
            "verify-flash", hex(region.start), "{image}", content=region.content
        ).passed

    def _run(self, *words: str, content: bytes = b"", after: str = "no-reset") -> CheckResult:
        settings = self._settings
        before = "default-reset" if settings.own_reset else "no-reset"
        command = [PROGRAM, "--chip", settings.chip, "--port", "{port}"]
        command += ["--baud", str(settings.baud), "--before", before, "--after", after]
        command += [] if settings.stub else ["--no-stub"]
        on_the_wire_s = 10 * len(content) / settings.baud
        timeout_s = START_S + 3 * on_the_wire_s + len(content) / BYTES_PER_S_MIN
        if not isinstance(self._line, LendableLine):
            raise FlashRefusedError(
                "a port that other programs can open was expected, this one is only the agent's"
            )
        return self._line.lend((*command, *words), content, timeout_s)

    def _unheard(self, found: CheckResult) -> FlashLineError:
        return FlashLineError(
            f"an {self._settings.chip} in its loader was expected, esptool says: {found.detail}; check "
            "the port, and that IO0 is low while EN rises"
        )
