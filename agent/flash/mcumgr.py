"""The flasher for chips with MCUboot: through their application, or through serial recovery.

Through the application the image goes to the second slot while the first one runs, is marked for a
trial, and after the reset the bootloader swaps the two. A cut in mid-upload leaves the old image
running; a cut in mid-swap makes the bootloader go on with it; and any reset before `confirm` swaps
back, so a trial gets one boot. Serial recovery writes over the only slot: after a cut there is no image
to start, and the chip depends on how its bootloader is entered.

What a server says is not what the flash holds. So the hash in the image list is asked after the upload
and again after the reboot, before which MCUboot has hashed the image itself.
"""

from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from agent.errors import (
    FlashError,
    FlashIdentityError,
    FlashImageError,
    FlashLineError,
    FlashRefusedError,
    FlashVerifyError,
)
from agent.flash import (
    ChipImage,
    FlashPlan,
    Identity,
    OnProgress,
    Phase,
    Progress,
    Recovery,
    Region,
)
from agent.flash.mcuboot_image import McubootImage, PublicKey, check_image
from agent.flash.smp import RESET, SmpClient, SmpSettings, Traffic
from agent.flash.smp_images import (
    SlotState,
    Upload,
    list_images,
    server_buffers,
    set_confirmed,
    set_trial,
    wait_for_images,
)
from agent.interfaces import LineSettings, SerialLine

RESETS_MAX: Final = 3
POLL_S: Final = 1.0
LINE_BITS_PER_BYTE: Final = 14
"""Ten bits for each character, four characters of base64 for three bytes, and the marks of the lines."""


class Way(StrEnum):
    """Who takes the image: the application that runs, or the bootloader."""

    APPLICATION = "application"
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True)
class McumgrSettings:
    """How to speak to one chip.

    `image` is MCUboot's image number, for chips with several; in recovery it is the slot to upload
    to as the bootloader counts them, 0 for its own choice, which is the first slot.
    `buffer_bytes` is used for servers that do not tell their own. So many requests of an upload as
    `requests_under_way` are sent before the first is answered, if the server has the buffers.
    `answers_after_start` says that an application started from recovery speaks SMP on the same line, so
    that its hash can be asked.
    `recovery` is what a power cut during serial recovery leaves: `rom` where wires enter it.
    For `quiet_s` after a reset nothing is sent: a bootloader that waits a moment for a request would
    take one as the wish to stay. The answer after it may take `reboot_s`, with the swap of all pages.
    """

    way: Way
    keys: tuple[PublicKey, ...]
    line: LineSettings
    image: int = 0
    security_counter_min: int = 0
    buffer_bytes: int = 384
    requests_under_way: int = 1
    answers_after_start: bool = True
    recovery: Recovery = Recovery.FRAGILE
    answer_s: float = 2.0
    erase_s: float = 10.0
    quiet_s: float = 1.0
    reboot_s: float = 60.0


class McumgrFlasher:
    """One chip with MCUboot on an open line; a `Flasher` with `confirm` and `revert` beside it."""

    def __init__(self, line: SerialLine, settings: McumgrSettings) -> None:
        self._line = line
        self._settings = settings
        self._client = SmpClient(line, SmpSettings(answer_s=settings.answer_s))
        self._image: McubootImage | None = None

    @property
    def recovery(self) -> Recovery:
        """Through the application a cut leaves the old image; else the settings know."""
        match self._settings.way:
            case Way.APPLICATION:
                return Recovery.AB
            case Way.RECOVERY:
                return self._settings.recovery
            case _ as never:
                assert_never(never)

    @property
    def traffic(self) -> Traffic:
        """What has gone over the line so far."""
        return self._client.traffic

    def slots(self) -> tuple[SlotState, ...]:
        """What the slots of this image hold, as the chip lists them now."""
        rows = list_images(self._client)
        if self._settings.way is Way.RECOVERY:
            return rows
        return tuple(row for row in rows if row.image == self._settings.image)

    def identify(self) -> Identity:
        """Ask for the image list. SMP has no chip id: what binds an image to a chip is its key."""
        self._line.open(self._settings.line)
        rows = self.slots()
        if self._settings.way is Way.RECOVERY:
            return Identity(chip="", bootloader="MCUboot, serial recovery")
        running = [row for row in rows if row.active]
        if len(running) != 1 or running[0].hash is None:
            raise FlashIdentityError(
                f"one running image with its hash was expected for image {self._settings.image}, "
                f"{len(running)} found; compare the image number with the firmware"
            )
        return Identity(chip="", bootloader=f"MCUboot, application {running[0].version}")

    def plan(self, image: ChipImage, progress: OnProgress) -> FlashPlan:
        """Check the image's signature and compare its hash with the image that runs."""
        content = _content(image)
        self._image = check_image(
            content, self._settings.keys, security_counter_min=self._settings.security_counter_min
        )
        progress(Progress(Phase.COMPARE, len(content), len(content)))
        if self._settings.way is Way.APPLICATION and self._running(self._image.hash):
            return FlashPlan(erase=(), writes=(), unchanged_bytes=len(content))
        return FlashPlan(erase=(), writes=image.regions, unchanged_bytes=0)

    def write(self, plan: FlashPlan, progress: OnProgress) -> None:
        """Upload. The bootloader looks at the image's end first, so half of one is not started."""
        if not plan.writes:
            return
        image = self._planned()
        if self._settings.way is Way.APPLICATION:
            if any(row.hash == image.hash and row.pending for row in self.slots()):
                return  # a cut came between the mark and the reset
            self._settle()
        content = plan.writes[0].content
        buffers = server_buffers(self._client, self._settings.buffer_bytes)
        under_way = buffers.requests_under_way(self._settings.requests_under_way)
        on_the_wire_s = LINE_BITS_PER_BYTE * buffers.size_bytes / self._settings.line.baud
        upload = Upload(
            content=content,
            image=self._settings.image,
            buffer_bytes=buffers.size_bytes,
            erase_s=self._settings.erase_s + on_the_wire_s,
            answer_s=self._settings.answer_s + under_way * on_the_wire_s,
            under_way=under_way,
        )
        upload.run(
            self._client,
            lambda done_bytes: progress(Progress(Phase.WRITE, done_bytes, len(content))),
        )

    def verify(self, image: ChipImage, progress: OnProgress) -> None:
        """Look for the image's hash in the list; a bootloader that tells none is asked by `start`."""
        content = _content(image)
        wanted = self._planned().hash
        rows = self.slots()
        silent = self._settings.way is Way.RECOVERY and all(row.hash is None for row in rows)
        if silent and not self._settings.answers_after_start:
            raise FlashVerifyError(
                "a hash in the bootloader's image list was expected, none found, and the "
                "application is said to be silent; build MCUboot so that it lists hashes"
            )
        if not silent and not any(row.hash == wanted for row in rows):
            raise _other_hash(wanted, rows)
        progress(Progress(Phase.VERIFY, len(content), len(content)))

    def start(self) -> None:
        """Reset into the image, as a trial where there are two slots, and see that it runs."""
        wanted = self._planned().hash
        if self._settings.way is Way.APPLICATION:
            if self._running(wanted):
                return
            rows = set_trial(self._client, wanted)
            if not any(row.hash == wanted and row.pending for row in rows):
                raise _other_hash(wanted, rows)
        rows = self._reset()
        for _ in range(RESETS_MAX):
            if any(row.pending for row in rows):  # the request to reset was lost on its way
                rows = self._reset()
        if self._settings.answers_after_start and not any(
            row.active and row.hash == wanted for row in rows
        ):
            raise _other_hash(wanted, rows)

    def confirm(self) -> None:
        """Keep the planned image, which must be running; before this any reset reverts it."""
        wanted = self._planned().hash
        if self._settings.way is Way.RECOVERY:
            return  # the only slot has no trial
        if not self._running(wanted):
            raise _other_hash(wanted, self.slots())
        rows = set_confirmed(self._client, wanted)
        if not any(row.active and row.confirmed and row.hash == wanted for row in rows):
            raise FlashVerifyError(
                "the running image was to be confirmed, its slot is not listed so; try again"
            )

    def revert(self) -> None:
        """Go back to the image from before the trial; nothing to do when no trial is on."""
        if self._settings.way is Way.RECOVERY:
            raise FlashRefusedError(
                "a second slot to revert to was expected, serial recovery writes the only one; "
                "flash the earlier image instead"
            )
        self._settle()  # a mark that no reset has followed yet is a trial too

    def _settle(self) -> None:
        """Reset until the running image is confirmed and none waits: each reset ends one trial."""
        for _ in range(RESETS_MAX):
            rows = self.slots()
            if any(row.active and row.confirmed for row in rows) and not any(
                row.pending for row in rows
            ):
                return
            self._reset()
        raise FlashError(
            f"a confirmed image that runs was expected after {RESETS_MAX} resets, none found; "
            "confirm or replace the image on this chip by hand"
        )

    def _reset(self) -> tuple[SlotState, ...]:
        """Reset the chip and wait until what runs then answers; the slots as it lists them.

        The answer to the reset may be cut off by the reset itself, so its silence means nothing; and
        a chip that did not hear us still lists what it listed before.
        """
        with suppress(FlashLineError):
            self._client.request(RESET, {}, attempts_max=1)
        self._line.wait(self._settings.quiet_s)
        if not self._settings.answers_after_start:
            return ()
        return self._answer_after_reset()

    def _answer_after_reset(self) -> tuple[SlotState, ...]:
        attempts_max = max(1, round(self._settings.reboot_s / POLL_S))
        try:
            wait_for_images(self._client, POLL_S, attempts_max)
        except FlashLineError as error:
            raise FlashLineError(
                f"an answer within {self._settings.reboot_s:.0f} s after the reset was expected, the "
                "chip stays silent; reset it: a bootloader that swaps goes back by itself"
            ) from error
        return self.slots()

    def _running(self, image_hash: bytes) -> bool:
        return any(row.active and row.hash == image_hash for row in self.slots())

    def _planned(self) -> McubootImage:
        assert self._image is not None, "plan comes first"
        return self._image


def _content(image: ChipImage) -> bytes:
    match image.regions:
        case (Region(start=0, content=content),):
            return content
        case _:
            raise FlashImageError(
                f"one MCUboot image from offset 0 was expected, {len(image.regions)} regions found"
            )


def _other_hash(wanted: bytes, rows: tuple[SlotState, ...]) -> FlashVerifyError:
    found = ", ".join(
        f"slot {row.slot} {row.version} {row.hash.hex()[:16] if row.hash else 'without hash'}"
        f"{' running' if row.active else ''}"
        for row in rows
    )
    return FlashVerifyError(
        f"image {wanted.hex()[:16]} was expected on the chip, it lists {found or 'none'}; "
        "flash it again"
    )
