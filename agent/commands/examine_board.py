"""What `lockgate doctor` looks at on the board: its devices, boot state, watchdog and what runs."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from agent import journal as journals
from agent.commands.examination import Finding, Level, examined
from agent.commands.output import size_words
from agent.commands.setup import Setup, device_keys
from agent.errors import InstallError, ProfileError
from agent.interfaces import World
from agent.linux.world import local_world
from agent.update import State

WATCHDOGS: Final = "/sys/class/watchdog"
ON_TRIAL: Final = (State.SWITCHED, State.TRIAL, State.UNHEALTHY)


def board_findings(setup: Setup) -> Iterator[Finding]:
    """All of them."""
    world = local_world(setup.config)
    for key, path in device_keys(setup.profile):
        yield examined(key, partial(_device, setup, world, key, path))
    yield examined("slot sizes", partial(_slot_sizes, setup, world))
    yield examined("boot state", partial(_boot_state, setup, world))
    yield _watchdog(setup.profile.confirm.watchdog)


def _device(setup: Setup, world: World, key: str, path: str) -> Finding:
    try:
        size_bytes = world.storage.device(path).size_bytes
    except InstallError as error:
        raise ProfileError(f"{setup.config.device.profile}: {error}") from error
    if size_bytes == 0:
        return Finding(
            key, Level.FAIL, f"{path} has 0 bytes", "partition the medium as the profile says"
        )
    return Finding(key, Level.OK, f"{path}, {size_words(size_bytes)}")


def _slot_sizes(setup: Setup, world: World) -> Finding:
    """A part that is smaller in one slot bounds what can ever be installed."""
    different: list[str] = []
    for part in setup.profile.parts:
        a, b = (
            world.storage.device(setup.profile.slots[slot].parts[part]).size_bytes
            for slot in ("a", "b")
        )
        if a != b:
            different.append(f"{part} has {size_words(a)} in slot a and {size_words(b)} in slot b")
    if different:
        return Finding(
            "slot sizes",
            Level.WARN,
            "; ".join(different),
            "images must fit the smaller one; make both the same size on the next medium",
        )
    return Finding("slot sizes", Level.OK, "both slots have the same sizes")


def _boot_state(setup: Setup, world: World) -> Finding:
    """The boot state is readable and agrees with what runs and with what the journal knows."""
    boot = setup.open(world).boot
    booted, default, armed = boot.booted(), boot.default(), boot.armed()
    told = f"slot {booted} runs, slot {default} starts by default"
    journal = journals.load(world.files)
    update = None if journal is None else journal.update
    known = update is not None and update.state in ON_TRIAL
    if (booted != default or armed) and not known:
        return Finding(
            "boot state",
            Level.WARN,
            f"{told}{', a trial is armed' if armed else ''}, and no update of ours is on trial",
            "start the service: it goes back to the default slot; or confirm by the bootloader's tool",
        )
    return Finding("boot state", Level.OK, f"{told}{', on trial' if booted != default else ''}")


def _watchdog(path: str | None) -> Finding:
    if path is None:
        return Finding(
            "watchdog",
            Level.WARN,
            "the board profile names none: a trial that hangs stays until the power is cut",
            "name confirm.watchdog in the profile and set RuntimeWatchdogSec= of systemd",
        )
    if not Path(path).exists():
        return Finding(
            "watchdog",
            Level.FAIL,
            f"confirm.watchdog: a watchdog was expected at {path}, there is none",
            "load its kernel module, or correct confirm.watchdog in the profile",
        )
    state = Path(WATCHDOGS) / Path(path).name / "state"
    try:
        found = state.read_text().strip()
    except OSError:
        return Finding("watchdog", Level.WARN, f"{path}: {state} cannot be read", "see dmesg")
    if found != "active":
        return Finding(
            "watchdog",
            Level.WARN,
            f"{path} is {found}: nothing resets a trial that hangs",
            "set RuntimeWatchdogSec=30 in /etc/systemd/system.conf",
        )
    return Finding("watchdog", Level.OK, f"{path} is armed")
