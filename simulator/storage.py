"""The block devices of a board as they leave the factory: slots with their images, and the boot state."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, assert_never

from agent.board import BoardProfile, SlotName, TrybootSettings, UbootSettings
from agent.boot.environment import encode
from agent.errors import ConfigError
from simulator.block_device import (
    MemoryStore,
    SimulatedBlockDevice,
    SimulatedStorage,
    SparseFileStore,
    Store,
)
from simulator.fat import fat_image
from simulator.power import Power

CONFIG_BYTES: Final = 64 * 1024
COPY_BYTES: Final = 1024 * 1024
AUTOBOOT_BYTES: Final = 128


@dataclass(frozen=True, slots=True)
class Factory:
    """How a board is made: how large a part of a slot is, and what slot a holds, by part.

    `standby` is what slot b holds, if anything. Images are bytes or files. With a folder every device
    is a sparse file there, and what it holds already is kept; without one all is in memory.
    """

    part_bytes: int
    images: Mapping[str, bytes | Path]
    folder: Path | None = None
    standby: Mapping[str, bytes | Path] = field(default_factory=dict)


class BoardStorage(SimulatedStorage):
    """All the devices of one board, and which of them are a slot."""

    def __init__(self, profile: BoardProfile, devices: Mapping[str, SimulatedBlockDevice]) -> None:
        super().__init__(devices)
        self._profile = profile

    def slot(self, slot: SlotName) -> dict[str, SimulatedBlockDevice]:
        """The devices of one slot by part."""
        return {part: self.devices[path] for part, path in self._profile.slots[slot].parts.items()}


def make_storage(profile: BoardProfile, factory: Factory, power: Power) -> BoardStorage:
    """All devices that a profile names. Raises `ConfigError` for an image that does not fit."""
    sizes = _sizes(profile, factory)
    devices = {}
    for path, size_bytes in sizes.items():
        store, new = _store(path, size_bytes, factory.folder)
        devices[path] = SimulatedBlockDevice(store, power, path)
        if new:
            _provision(devices[path], path, profile, factory)
    return BoardStorage(profile, devices)


def _sizes(profile: BoardProfile, factory: Factory) -> dict[str, int]:
    sizes = {
        path: factory.part_bytes for slot in profile.slots.values() for path in slot.parts.values()
    }
    match profile.boot:
        case TrybootSettings() as tryboot:
            sizes[tryboot.config_partition] = CONFIG_BYTES
        case UbootSettings() as uboot:
            for copy in uboot.copies:
                end = copy.offset + uboot.size_bytes
                sizes[copy.device] = max(sizes.get(copy.device, 0), end)
        case _ as never:
            assert_never(never)
    return sizes


def _store(path: str, size_bytes: int, folder: Path | None) -> tuple[Store, bool]:
    if folder is None:
        return MemoryStore(size_bytes), True
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / path.strip("/").replace("/", "-")
    new = not file.exists()
    return SparseFileStore(file, size_bytes).create(), new


def _provision(
    device: SimulatedBlockDevice, path: str, profile: BoardProfile, factory: Factory
) -> None:
    contents: dict[SlotName, Mapping[str, bytes | Path]] = {
        "a": factory.images,
        "b": factory.standby,
    }
    for slot, images in contents.items():
        for part, place in profile.slots[slot].parts.items():
            if place == path and part in images:
                _write_image(device, part, images[part])
    match profile.boot:
        case TrybootSettings() as tryboot:
            if tryboot.config_partition == path:
                device.provision(0, _config_partition(profile))
        case UbootSettings() as uboot:
            for number, copy in enumerate(uboot.copies):
                if copy.device == path:
                    device.provision(copy.offset, _environment(uboot, 1 - number))
        case _ as never:
            assert_never(never)


def _write_image(device: SimulatedBlockDevice, part: str, image: bytes | Path) -> None:
    length_bytes = len(image) if isinstance(image, bytes) else image.stat().st_size
    if length_bytes > device.size_bytes:
        raise ConfigError(
            f"part {part}: an image of at most {device.size_bytes} bytes was expected, "
            f"{length_bytes} found; make the simulated slots larger"
        )
    if isinstance(image, bytes):
        device.provision(0, image)
        return
    with image.open("rb") as file:
        offset = 0
        while block := file.read(COPY_BYTES):
            if block.strip(b"\0"):  # what was never written takes no room
                device.provision(offset, block)
            offset += len(block)


def _config_partition(profile: BoardProfile) -> bytes:
    default, trial = (profile.slots[slot].boot_partition for slot in ("a", "b"))
    text = f"[all]\ntryboot_a_b=1\nboot_partition={default}\n[tryboot]\nboot_partition={trial}\n"
    return fat_image({"autoboot.txt": text.encode().ljust(AUTOBOOT_BYTES, b"\n")}, CONFIG_BYTES)


def _environment(settings: UbootSettings, serial: int) -> bytes:
    variables = {
        settings.slot: "a",
        settings.trial: "0",
        settings.boot_count: "0",
        settings.boot_limit: "3",
    }
    encoded = {name.encode(): value.encode() for name, value in variables.items()}
    return encode(encoded, flags=serial, size_bytes=settings.size_bytes)
