"""Reads and writes boot state so that one write is one transition, and was seen to arrive."""

from typing import Final

from agent.errors import BootControlError, InstallError
from agent.interfaces import BlockDevice, Storage

SECTOR_BYTES: Final = 512
"""What a medium is taken to replace whole or not at all, whatever its file system's sectors are."""


def open_device(storage: Storage, path: str) -> BlockDevice:
    """The device that the board profile names for boot state. Raises `BootControlError`."""
    try:
        return storage.device(path)
    except InstallError as error:
        raise BootControlError(
            f"{path}: a device that can be opened was expected for the boot state: {error}; "
            "compare the board profile with the partitions of this board"
        ) from error


def read_state(device: BlockDevice, offset: int, length_bytes: int, what: str) -> bytes:
    """These bytes of the device; `what` names them in errors. Raises `BootControlError`."""
    try:
        size_bytes = device.size_bytes  # it may have gone away since it was opened
        if offset < 0 or offset + length_bytes > size_bytes:
            raise BootControlError(
                f"{what}: {length_bytes} bytes at {offset} were expected, the device ends at "
                f"{size_bytes}; compare the board profile with this board"
            )
        return device.read(offset, length_bytes)
    except InstallError as error:
        raise BootControlError(
            f"{what}: {length_bytes} readable bytes at {offset} were expected: {error}; "
            "replace the medium if it happens again"
        ) from error


def write_state(device: BlockDevice, offset: int, content: bytes, what: str) -> None:
    """Replace these bytes by one write, durable on return. Raises `BootControlError`.

    A cut leaves the old bytes or the new ones when they lie in one sector; otherwise any mixture of
    old and new sectors, so a longer content needs a check of its own and another copy beside it.
    """
    try:
        device.write(offset, content)
        device.flush()
        found = device.read(offset, len(content))
    except InstallError as error:
        raise BootControlError(
            f"{what}: could not be written at {offset}: {error}; "
            "the boot state is as before or as asked, so look at it again before going on"
        ) from error
    if found != content:
        raise BootControlError(
            f"{what}: the {len(content)} bytes written at {offset} were expected when read back, "
            "others were found; the medium does not keep what it takes, replace it"
        )


def flush_state(device: BlockDevice, what: str) -> None:
    """Make durable what a bootloader wrote without flushing. Raises `BootControlError`."""
    try:
        device.flush()
    except InstallError as error:
        raise BootControlError(
            f"{what}: a flush was expected to succeed: {error}; replace the medium"
        ) from error
