"""What `lockgate doctor` looks at besides the board: the agent's own files, certificates and the clock."""

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from agent import floor
from agent import journal as journals
from agent.commands.examination import Finding, Level, examined
from agent.commands.output import size_words, time_words
from agent.commands.settings import check_certificates
from agent.commands.setup import Setup
from agent.encryption import load_private, recipient_id
from agent.interfaces import World
from agent.limits import NO_LIMITS, Wish
from agent.linux.world import local_world
from agent.restraint import Restraint
from agent.strict import format_time

ROOM_BYTES_MIN: Final = 2 * 1024 * 1024
ROOM_BYTES_GOOD: Final = 16 * 1024 * 1024
RENEW_BEFORE: Final = timedelta(days=30)
PROBE: Final = "doctor.probe"


def state_findings(setup: Setup) -> Iterator[Finding]:
    """All of them."""
    world = local_world(setup.config)
    yield examined("state folder", partial(_state_folder, setup, world))
    yield examined("runtime folder", partial(_runtime_folder, setup, world))
    yield examined("journal", partial(_journal, setup, world))
    yield examined("clock", partial(_clock, world))
    yield examined("identity", partial(_identity, setup, world))
    if setup.config.encryption.key:
        yield examined("encryption key", partial(_encryption_key, setup))
    if setup.config.limits != NO_LIMITS:
        yield examined("limits", partial(_limits, setup, world))
    for key, path in (
        ("broker.authority", setup.config.broker.authority),
        ("repository.authority", setup.config.repository.authority),
    ):
        yield examined(key, partial(_dates, world, key, path))


def _state_folder(setup: Setup, world: World) -> Finding:
    """Write, read back and remove a file, then ask for the room that is left."""
    world.files.replace(PROBE, b"\n")
    world.files.remove(PROBE)
    path = setup.config.paths.state
    room = os.statvfs(path)
    free_bytes = room.f_bavail * room.f_frsize
    told = f"{path} is writable, {size_words(free_bytes)} free"
    if free_bytes < ROOM_BYTES_MIN:
        return Finding("state folder", Level.FAIL, told, "free some space on its file system")
    if free_bytes < ROOM_BYTES_GOOD:
        return Finding("state folder", Level.WARN, told, "free some space before it is full")
    return Finding("state folder", Level.OK, told)


def _runtime_folder(setup: Setup, world: World) -> Finding:
    with world.scratch.folder({PROBE: b"\n"}) as folder:
        world.scratch.collect(folder)
    return Finding("runtime folder", Level.OK, f"{setup.config.paths.runtime} is writable")


def _journal(setup: Setup, world: World) -> Finding:
    journal = journals.load(world.files)
    floor.load(world.files)
    if journal is None:
        return Finding(
            "journal",
            Level.FAIL,
            f"{setup.config.paths.state}/{journals.FILE} is damaged",
            "start the service: it sets the file aside, reports it and looks again",
        )
    waiting = len(journal.reports)
    if waiting > journals.REPORTS_MAX // 2:
        return Finding(
            "journal",
            Level.WARN,
            f"{waiting} reports wait for the fleet's receipt",
            "see whether the broker is reachable and the fleet's collector runs",
        )
    return Finding("journal", Level.OK, f"readable, {waiting} reports wait")


def _clock(world: World) -> Finding:
    wall, known = world.clock.wall(), floor.load(world.files).time
    told = f"{format_time(wall.utc)}{'' if wall.synchronised else ', nobody vouches for it'}"
    if wall.utc < known:
        return Finding(
            "clock",
            Level.WARN,
            f"{told}; {format_time(known)} is past already, and is used instead",
            "let the clock be set from the network (timedatectl set-ntp true)",
        )
    if not wall.synchronised:
        return Finding("clock", Level.WARN, told, "run a time service such as systemd-timesyncd")
    return Finding("clock", Level.OK, told)


def _identity(setup: Setup, world: World) -> Finding:
    from agent.linux.certificate import (  # noqa: PLC0415  # brings cryptography
        key_belongs,
        read_certificate,
    )

    check_certificates(setup.config)
    broker, device = setup.config.broker, setup.config.device.id
    found = read_certificate(broker.certificate)
    if found.common_name != device:
        return Finding(
            "identity",
            Level.FAIL,
            f"{broker.certificate}: a certificate for {device} was expected, it is for "
            f"{found.common_name}",
            "enrol this device under its own id, or correct device.id in agent.toml",
        )
    if not key_belongs(broker.certificate, broker.key):
        return Finding(
            "identity",
            Level.FAIL,
            f"{broker.key} is not the key of {broker.certificate}",
            "enrol the device with the request of `lockgate identity --new`",
        )
    return _dates(world, "identity", broker.certificate)


def _encryption_key(setup: Setup) -> Finding:
    private = load_private(setup.encryption_key)
    name = recipient_id(private.public_key().public_bytes_raw()).hex()[:8]
    return Finding("encryption key", Level.OK, f"{setup.config.encryption.key}: key {name}")


def _limits(setup: Setup, world: World) -> Finding:
    hold = Restraint(world, setup.config.limits).hold_for(Wish())
    if hold is None:
        return Finding("limits", Level.OK, "none holds an update up now")
    advice = f"see `lockgate explain {hold.code}`"
    return Finding("limits", Level.WARN, f"an update would wait: {hold}", advice)


def _dates(world: World, name: str, path: str) -> Finding:
    from agent.linux.certificate import read_certificate  # noqa: PLC0415  # brings cryptography

    found = read_certificate(path)
    now = world.clock.wall().utc
    told = f"{path}: valid from {format_time(found.not_before)} to {format_time(found.not_after)}"
    if not found.not_before <= now <= found.not_after:
        advice = "correct this device's date, or have the fleet renew the certificate"
        return Finding(name, Level.FAIL, told, advice)
    left = _left(now, found.not_after)
    if found.not_after - now < RENEW_BEFORE:
        return Finding(name, Level.WARN, f"{told}, {left}", "have the fleet renew the certificate")
    return Finding(name, Level.OK, f"{told}, {left}")


def _left(now: datetime, end: datetime) -> str:
    return f"{time_words((end - now).total_seconds())} left"
