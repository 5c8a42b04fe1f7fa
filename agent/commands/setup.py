"""What a verb works on: the files that `agent.toml` names, the device that they describe, its lock."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.board import BoardProfile, TrybootSettings, UbootSettings, parse_profile
from agent.commands.settings import (
    FILE_BYTES_MAX,
    read_config,
    read_file,
)
from agent.config import Config
from agent.device import Device
from agent.errors import BusyError, ConfigError, InstallError, ProfileError
from agent.interfaces import Storage, World
from agent.linux.lock import StateLock
from agent.linux.wake import Waker
from agent.linux.world import local_world, wake_path
from agent.opening import open_device
from agent.request import Request, leave
from agent.strict import Refusal, load_json

if TYPE_CHECKING:  # an agent that the courier starts goes without it
    import argparse


@dataclass(frozen=True, slots=True)
class Setup:
    """One device as it was configured."""

    config: Config
    profile: BoardProfile
    root_of_trust: bytes
    encryption_key: bytes = field(default=b"", repr=False)

    def open(self, world: World) -> Device:
        """The device as it runs now. Raises `ProfileError`, `BootControlError`."""
        check_devices(self.config, self.profile, world.storage)
        return open_device(
            world,
            self.config,
            self.profile,
            self.root_of_trust,
            encryption_key=self.encryption_key,
        )


@dataclass(frozen=True, slots=True)
class RunningService:
    """The service, as seen by a verb that found the lock taken; `busy` is the error of that."""

    setup: Setup
    busy: BusyError

    def ask(self, request: Request) -> None:
        """Leave a request and wake the service. Raises `BusyError` when something else has the lock."""
        path = wake_path(self.setup.config)
        if not Waker.send(path):
            raise self.busy
        leave(local_world(self.setup.config).files, request)
        Waker.send(path)


def read_setup(options: "argparse.Namespace") -> Setup:
    """Everything that `--config` leads to. Raises `ConfigError`, `ProfileError`."""
    config = read_config(options.config)
    return Setup(
        config,
        read_profile(config, options.config),
        read_root_of_trust(config),
        read_encryption_key(config),
    )


def read_profile(config: Config, source: str) -> BoardProfile:
    """The board profile that the settings name. Raises `ProfileError`."""
    path = config.device.profile
    advice = f"correct device.profile in {source}"
    return parse_profile(read_file(path, "the board profile", advice, ProfileError), path)


def read_root_of_trust(config: Config) -> bytes:
    """The fleet's first root metadata. Raises `ConfigError`."""
    path = config.paths.root_of_trust
    advice = "copy root.json from the device's enrolment folder, or correct paths.root_of_trust"
    content = read_file(path, "the fleet's root of trust", advice, ConfigError)
    fields = load_json(content, length_max=FILE_BYTES_MAX, refusal=Refusal(ConfigError, path))
    if "signatures" not in fields or fields.table("signed").raw.get("_type") != "root":
        fields.refuse("signed._type", f"signed root metadata was expected; {advice}")
    return content


def read_encryption_key(config: Config) -> bytes:
    """The private key to which payloads may be encrypted; empty without one, or when it cannot be read.

    A device that has lost it must still judge its trial, and update by what is not encrypted.
    """
    path = config.encryption.key
    try:
        return read_file(path, "the encryption key", "", ConfigError) if path else b""
    except ConfigError:
        return b""


def check_devices(config: Config, profile: BoardProfile, storage: Storage) -> None:
    """See that every device of the profile is there. Raises `ProfileError` with the file and the key."""
    for key, path in device_keys(profile):
        try:
            size_bytes = storage.device(path).size_bytes
        except InstallError as error:
            raise ProfileError(
                f"{config.device.profile}: {key}: a device was expected at {path}: {error}"
            ) from error
        if size_bytes == 0:
            raise ProfileError(
                f"{config.device.profile}: {key}: a device with room was expected at {path}, it has "
                "0 bytes; partition the medium as the profile says"
            )


def device_keys(profile: BoardProfile) -> Iterator[tuple[str, str]]:
    """Each key of the profile that names a device, with the device."""
    for name, slot in profile.slots.items():
        for part, path in slot.parts.items():
            yield f"slots.{name}.parts.{part}", path
    match profile.boot:
        case TrybootSettings() as tryboot:
            yield "boot.config_partition", tryboot.config_partition
        case UbootSettings() as uboot:
            for position, copy in enumerate(uboot.copies):
                yield f"boot.copies[{position}].device", copy.device


def alone_or_asked(
    options: "argparse.Namespace",
    alone: Callable[[Device], int],
    asked: Callable[[RunningService], int],
) -> int:
    """Do it here under the lock, or ask the service that has the lock to do it."""
    setup = read_setup(options)
    with ExitStack() as stack:
        try:
            stack.enter_context(StateLock(setup.config.paths.state))
        except BusyError as busy:
            return asked(RunningService(setup, busy))
        return alone(setup.open(local_world(setup.config)))
