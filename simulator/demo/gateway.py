"""The gateway of the demonstration: a Pi with an STM32 and an AVR, updated with it and reverted with it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent.board import BoardProfile
from simulator.chips import BoardChip, chip_content, image_file
from simulator.demo.checks import Promise
from simulator.demo.devices import DemoDevice
from simulator.profiles import load_profile
from simulator.trace import Line

NAME: Final = "gateway-1"
PULLED: Final = "lamp"
"""The chip whose plug is pulled."""
WRITES: Final = 18
"""So many writes to its port after the trial began, it is half written."""
HOSTS: Final = "1-9"
IMAGES_OF: Final = 0
"""The seed of what the operator releases, which is not that of any board."""


def gateway_profile(base: BoardProfile) -> BoardProfile:
    """The board with the chips of two shipped gateways."""
    chips = [
        chip
        for name in ("gateway-stm32", "gateway-avr")
        for chip in load_profile(name).microcontrollers
    ]
    return replace(base, name="gateway", microcontrollers=tuple(chips))


def chip_words(folder: Path, profile: BoardProfile, number: int) -> list[str]:
    """Write the chips' image files of release `number`; the options with which a release gets them."""
    words = []
    for chip in profile.microcontrollers:
        content = chip_content(chip.settings, chip.name, IMAGES_OF, number)
        path = folder / f"{chip.name}-{number}.{chip.settings.image_format}"
        path.write_bytes(image_file(chip.settings, content))
        words += ["--chip", f"{chip.hardware_id}:{chip.name}={path}"]
        words += ["--hosts", f"{chip.name}={HOSTS}"]
    return words


def pull_plug_in_trial(device: DemoDevice, release: str) -> None:
    """Unplug one chip in the middle of this release's flashing; put it back when the old system runs."""
    chip = device.simulation.board.chip(PULLED)
    trace = device.simulation.trace
    before: Callable[[Line], None] | None = trace.sink

    def watch(line: Line) -> None:
        if before is not None:
            before(line)
        if line.event == "trial" and line.detail.startswith(f"{release} "):
            chip.unplugged_at = chip.writes + WRITES
            device.say(device.name, f"! unplugged  chip {chip.name}, in the middle of flashing")
        elif line.event == "boot" and chip.unplugged_at is not None:
            chip.plug_in()
            device.say(device.name, f"plugged in  chip {chip.name}")

    trace.sink = watch


def chips_hold(device: DemoDevice, release: str, number: int) -> Promise:
    """Whether both chips' flash holds the images of a release, read from the flash itself."""
    rows = [(chip.name, _holds(chip, number)) for chip in device.simulation.board.chips]
    return Promise(
        f"{device.name}: unplugged in mid-flash, both chips run {release} with their system again",
        all(same for _, same in rows),
        ", ".join(f"{name} {'yes' if same else 'no'}" for name, same in rows),
    )


def _holds(chip: BoardChip, number: int) -> bool:
    return chip.holds(chip_content(chip.settings, chip.name, IMAGES_OF, number))
