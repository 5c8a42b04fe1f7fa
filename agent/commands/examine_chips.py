"""What `lockgate doctor` looks at of the microcontrollers: ports, what they hold, who answers.

A bootloader is asked only when that is wanted: to enter it stops the chip's firmware for a moment.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from agent import journal as journals
from agent.board import Microcontroller
from agent.commands.examination import Finding, Level, examined, failure
from agent.commands.setup import Setup
from agent.errors import BusyError, FlashLineError, UpdateError
from agent.firmware import AS_IT_CAME, ChipRecord, Firmware
from agent.interfaces import SerialPorts
from agent.linux.lock import StateLock
from agent.linux.world import local_world


def chip_findings(setup: Setup, *, ask: bool) -> Iterator[Finding]:
    """One for each microcontroller; with `ask` also who answers in its bootloader."""
    chips = setup.profile.microcontrollers
    if not chips:
        return
    world = local_world(setup.config)
    try:
        journal = journals.load(world.files) or journals.Journal()
        counter = setup.open(world).running(journal).counter
    except UpdateError as error:
        yield failure("chips", error)
        return
    for chip in chips:
        record = journal.chips.get(chip.name, AS_IT_CAME)
        yield examined(f"chip {chip.name}", partial(examine_chip, chip, record, counter))
    if not ask:
        return
    try:
        with StateLock(setup.config.paths.state):
            for chip in chips:
                yield examined(f"chip {chip.name} answers", partial(ask_chip, chip, world.serial))
    except BusyError as busy:
        yield failure("chips answer", busy)


def examine_chip(chip: Microcontroller, record: ChipRecord, counter: int) -> Finding:
    """Whether its port is there, and what it holds goes with the system of this release counter."""
    name, port = f"chip {chip.name}", chip.settings.port
    if "://" not in port and not Path(port).exists():
        raise FlashLineError(
            f"{port}: a serial port was expected, it is not there; look at its plug, or correct port in "
            "the profile"
        )
    told = f"{port}, holds {_words(record.holds)}"
    if record.writing is not None:
        return Finding(
            name,
            Level.WARN,
            f"{told} or {_words(record.writing)}, which was begun",
            "leave it to the service, which brings it where it belongs",
        )
    hosts = record.holds.hosts if record.holds is not None else None
    if hosts is None:
        return Finding(name, Level.OK, told)
    told = f"{told}, for release counters {hosts.counter_min} to {hosts.counter_max}"
    if not hosts.allow(counter):
        return Finding(
            name,
            Level.FAIL,
            f"{told}, and {counter} runs",
            "release an image for it that works with the system, or go back with `lockgate revert`",
        )
    return Finding(name, Level.OK, f"{told}; {counter} runs")


def ask_chip(chip: Microcontroller, serial: SerialPorts) -> Finding:
    """Enter the bootloader, ask who it is, and let the chip start again. Raises `FlashError`."""
    from agent.flash.keep import identify_chip  # noqa: PLC0415  # few boards need it

    line = serial.line(chip.settings.port)
    identity = identify_chip(chip.settings, line, serial.pins())
    who = f"{identity.chip}, " if identity.chip else ""
    return Finding(f"chip {chip.name} answers", Level.OK, f"{who}bootloader {identity.bootloader}")


def _words(firmware: Firmware | None) -> str:
    return "what it came with" if firmware is None else firmware.sha256[:12]
