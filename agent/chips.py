"""The microcontrollers in the same update as the system: forward in its trial, back when it reverts.

The system's `confirm` is the one write that decides. Before it every chip can go back: its earlier image is
kept, or its own trial ends with any reset. After it every chip can only go forward, because the new image is
kept as well. `wanted` says what belongs where; all else is bringing chips there, again and again if need
be, for what a chip holds already is neither erased nor written. `docs/decisions/0010` has the reasons.
"""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import replace

from agent.board import Microcontroller
from agent.device import Device
from agent.encryption import open_kept, seal_kept
from agent.errors import (
    FlashError,
    FlashRefusedError,
    MixedError,
    RecipientError,
    RefusedError,
    StateError,
)
from agent.firmware import AS_IT_CAME, ChipRecord, Firmware
from agent.flash import ChipImage, OnProgress, Progress
from agent.flash.entry import GpioPins
from agent.flash.image_file import raw_image
from agent.flash.keep import (
    can_be_read,
    check_runs,
    confirm_chip,
    has_trial,
    read_chip,
    revert_chip,
)
from agent.flash.pace import Pace
from agent.flash.select import check_image_fits, flash_start, parse_image
from agent.flash.session import ATTEMPTS, flash_chip
from agent.interfaces import SerialLine
from agent.no_chips import Keeper, NoChips, wanted
from agent.update import ChipInstallation, Update
from agent.whole_image import fetch_whole


class Chips(NoChips):
    """All microcontrollers of one device in one boot."""

    def __init__(self, device: Device, keeper: Keeper, tell: Callable[[str], None]) -> None:
        super().__init__(device, keeper, tell)
        self._timings: dict[str, str] = {}

    def check_ways_back(self, chips: tuple[ChipInstallation, ...]) -> None:
        """Refuse to replace what nobody could bring back. Raises `RefusedError`."""
        for chip, _ in self._of(chips):
            line = self._line(chip)
            lost = not has_trial(chip.settings, line) and not can_be_read(chip.settings, line)
            if lost and self._wanted(chip) is None and not chip.allow_one_way:
                raise RefusedError(
                    f"chip {chip.name}: a way back to the image with which it came was expected, its "
                    "protocol has none; set allow_one_way = true in the board profile to do without"
                )

    def prepare(self, update: Update, breathe: Callable[[], None]) -> None:
        """Have every image whole on the device, the old ones too, before anything is switched.

        A cut leaves files that are fetched and chips that were only read.
        """
        for chip, planned in self._of(update.chips):
            self._fetch(planned, breathe)
            # What is malformed, too large or not signed is refused here, not in a trial.
            check_image_fits(self._image(chip, planned.firmware), chip.settings)
            if self._wanted(chip) is None and self._record(chip) == AS_IT_CAME:
                self._learn(chip)

    def bring_forward(self) -> None:
        """To the images of the trial, on trial themselves where they can be. Raises `FlashError`."""
        for chip in self._device.profile.microcontrollers:
            firmware = self._wanted(chip)
            if firmware is not None and not self._record(chip).is_settled_on(firmware):
                self._bring(chip, firmware, keep=False, attempts=ATTEMPTS)

    def check_trials(self) -> None:
        """A chip that reset itself during the trial has gone back. Raises `FlashError`."""
        for chip in self._device.profile.microcontrollers:
            firmware = self._wanted(chip)
            if firmware is not None and self._record(chip).writing == firmware:
                image = self._image(chip, firmware)
                check_runs(chip.settings, self._line(chip), self._pins(), image)

    def settle(self, attempts: int | None = None, replaced: Collection[str] = ()) -> None:
        """To what belongs beside the system that is here to stay. Raises `MixedError` naming the rest.

        A chip that is to be `replaced` and whose image from before is lost is left as it is, or no release
        could ever mend it; what can meet was looked at in the plan.
        """
        errors = []
        for chip in self._device.profile.microcontrollers:
            try:
                self._settle(chip, attempts or ATTEMPTS)
            except (FlashError, StateError) as error:
                lost = isinstance(error, (FlashRefusedError, StateError))
                if not lost or chip.name not in replaced:
                    errors.append(f"chip {chip.name}: {error}")
        if errors:
            raise MixedError("; ".join(errors))

    def summary(self) -> str:
        """What each chip holds, and what writing it in this boot took; empty for a device without chips."""
        rows = []
        for chip in self._device.profile.microcontrollers:
            record = self._record(chip)
            held = "as it came" if record.holds is None else record.holds.sha256[:12]
            unsure = f" or {record.writing.sha256[:12]}" if record.writing else ""
            rows.append(f"{chip.name} {held}{unsure}{self._timings.get(chip.name, '')}")
        return f"chips: {', '.join(rows)}" if rows else ""

    def _settle(self, chip: Microcontroller, attempts: int) -> None:
        firmware, record = self._wanted(chip), self._record(chip)
        if record.is_settled_on(firmware):
            return
        if has_trial(chip.settings, self._line(chip)) and record.writing != firmware:
            revert_chip(chip.settings, self._line(chip), self._pins())
            record = replace(record, writing=None)
            self._note(chip, record)
            if record.is_settled_on(firmware):
                return
        if firmware is None:
            raise FlashRefusedError("an image from before was expected, nobody ever knew one")
        self._bring(chip, firmware, keep=True, attempts=attempts)

    def _bring(
        self, chip: Microcontroller, firmware: Firmware, *, keep: bool, attempts: int
    ) -> None:
        """A cut leaves a record that says what was begun, from before the first erase on."""
        image, line, before = self._image(chip, firmware), self._line(chip), self._record(chip)
        begun = replace(before, writing=firmware)
        clock = self._device.world.clock
        began_s = clock.monotonic_s()
        flashed = flash_chip(
            chip.settings,
            line,
            image,
            pins=self._pins(),
            progress=self._show(chip),
            begins=lambda _: self._note(chip, begun),
            attempts=attempts,
        )
        if flashed.plan.writes:
            took_s = clock.monotonic_s() - began_s
            self._timings[chip.name] = f" ({flashed.plan.write_bytes} bytes in {took_s:.0f} s)"
        on_trial = has_trial(chip.settings, line)
        if on_trial and keep:
            confirm_chip(chip.settings, line, self._pins(), image)
        self._note(chip, begun if on_trial and not keep else ChipRecord(holds=firmware))

    def _fetch(self, planned: ChipInstallation, breathe: Callable[[], None]) -> None:
        installation = planned.installation
        if installation is None or self._is_kept(planned.firmware):
            return
        repository, meter = self._device.world.repository, self._keeper.meter
        secret = self._device.encryption_key
        content = fetch_whole(repository, installation, meter, breathe, secret)
        self._keep(planned.firmware, content)

    def _keep(self, firmware: Firmware, content: bytes) -> None:
        """On a device with a key what is kept is sealed: its disk holds no plain image."""
        key = self._device.encryption_key
        sealed = seal_kept(key, firmware.sha256, content) if key else content
        self._device.world.files.replace(firmware.path, sealed)

    def _kept(self, firmware: Firmware) -> bytes | None:
        content, key = self._device.world.files.read(firmware.path), self._device.encryption_key
        try:
            return open_kept(key, firmware.sha256, content) if content and key else content
        except RecipientError as error:  # a key that is none any more: what it sealed is lost
            raise StateError(f"{firmware.path}: {error}") from error

    def _is_kept(self, firmware: Firmware) -> bool:
        """Whether its bytes are here and have not rotted."""
        try:
            content = self._kept(firmware)
        except StateError:
            return False
        return content is not None and hashlib.sha256(content).hexdigest() == firmware.sha256

    def _learn(self, chip: Microcontroller) -> None:
        """Keep the image with which a chip came; one with two slots goes back by itself."""
        line = self._line(chip)
        if has_trial(chip.settings, line) or not can_be_read(chip.settings, line):
            return
        try:
            content = read_chip(chip.settings, line, self._pins(), self._show(chip))
        except FlashRefusedError:
            if chip.allow_one_way:
                return
            raise
        firmware = Firmware(hashlib.sha256(content).hexdigest(), None, read_back=True)
        self._keep(firmware, content)
        journal, booted = self._keeper.journal, self._device.boot.booted()
        beside = journal.installed.get(booted, self._device.running(journal))
        beside = replace(beside, chips={**beside.chips, chip.name: firmware})
        self._keeper.record(
            replace(
                journal,
                installed={**journal.installed, booted: beside},
                chips={**journal.chips, chip.name: ChipRecord(holds=firmware)},
            )
        )

    def _image(self, chip: Microcontroller, firmware: Firmware) -> ChipImage:
        content = self._kept(firmware)
        if content is None or hashlib.sha256(content).hexdigest() != firmware.sha256:
            raise StateError(
                f"{firmware.path}: the image of chip {chip.name} was expected to be kept whole, "
                f"{'nothing' if content is None else 'something else'} found"
            )
        if firmware.read_back:
            return raw_image(content, flash_start(chip.settings))
        return parse_image(content, chip.settings)

    def _show(self, chip: Microcontroller) -> OnProgress:
        pace = Pace(self._device.world.clock)

        def show(progress: Progress) -> None:
            self._keeper.meter.done_bytes = progress.done_bytes
            self._keeper.meter.total_bytes = progress.total_bytes
            self._tell(f"chip {chip.name}: {pace.words(progress)}")

        return show

    def _note(self, chip: Microcontroller, record: ChipRecord) -> None:
        journal = self._keeper.journal
        self._keeper.record(replace(journal, chips={**journal.chips, chip.name: record}))

    def _record(self, chip: Microcontroller) -> ChipRecord:
        return self._keeper.journal.chips.get(chip.name, AS_IT_CAME)

    def _wanted(self, chip: Microcontroller) -> Firmware | None:
        return wanted(self._keeper.journal, self._device.boot.booted()).get(chip.name)

    def _line(self, chip: Microcontroller) -> SerialLine:
        return self._device.world.serial.line(chip.settings.port)

    def _pins(self) -> GpioPins | None:
        return self._device.world.serial.pins()

    def _of(
        self, chips: tuple[ChipInstallation, ...]
    ) -> list[tuple[Microcontroller, ChipInstallation]]:
        by_name = {planned.chip: planned for planned in chips}
        present = self._device.profile.microcontrollers
        return [(chip, by_name[chip.name]) for chip in present if chip.name in by_name]
