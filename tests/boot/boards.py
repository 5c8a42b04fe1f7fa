"""Two boards to switch slots on: a real profile each, simulated devices, the firmware played below."""

import dataclasses
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agent.board import BoardProfile, SlotName, UbootSettings, parse_profile
from agent.boot import BootControl
from agent.boot.select import boot_control
from simulator.block_device import MemoryStore, SimulatedBlockDevice, SimulatedStorage
from simulator.fat import fat_image
from simulator.firmware import BootChoice, Firmware
from simulator.firmware.select import firmware
from simulator.power import Power

PROFILES: Final = Path(__file__).parents[2] / "board-profiles"
CONFIG_PARTITION: Final = "/dev/mmcblk0p1"
ENVIRONMENT: Final = "/dev/mmcblk1p1"
SECOND_COPY: Final = 0x10000
AUTOBOOT: Final = b"[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n"
FRESH: Final = {
    "boot_slot": "a",
    "bootcount": "0",
    "bootlimit": "3",
    "console": "ttyS0",
    "upgrade_available": "0",
}


@dataclasses.dataclass(slots=True)
class Board:
    """A board between two boots; `startable` says what its slots hold."""

    profile: BoardProfile
    power: Power
    device: SimulatedBlockDevice
    storage: SimulatedStorage
    startable: set[SlotName]
    choice: BootChoice = dataclasses.field(default_factory=lambda: BootChoice(slot=None))
    below: Firmware | None = None

    def reboot(self, argument: str = "") -> BootControl:
        """A reset, as a request of the system or by the watchdog."""
        self.firmware().reset(argument)
        return self.start()

    def cut_power(self) -> BootControl:
        """Power off, and on again."""
        self.firmware()
        self.power.restore()
        return self.start()

    def start(self) -> BootControl:
        """Let the firmware choose, and take control of what it started."""
        self.choice = self.firmware().boot()
        assert self.choice.slot is not None, "the board stayed dark"
        control = self.control()
        assert control.booted() == self.choice.slot
        return control

    def control(self) -> BootControl:
        """The agent's control in the system that runs."""
        return boot_control(self.profile, self.storage, self.choice.facts("boot"))

    def firmware(self) -> Firmware:
        """The firmware, which keeps its register between boots."""
        if self.below is None:
            self.below = firmware(
                self.profile, self.storage, self.power, lambda slot: slot in self.startable
            )
        return self.below


def raspberry_pi(autoboot: bytes = AUTOBOOT, seed: int = 0) -> Board:
    """A Raspberry Pi with tryboot."""
    profile = _profile("rpi4-tryboot")
    image = fat_image({"AUTOBOOT.TXT": autoboot, "README.TXT": b"how this board boots\n"})
    return _board(profile, CONFIG_PARTITION, image, seed)


def u_boot(variables: Mapping[str, str] = FRESH, seed: int = 0) -> Board:
    """A board with U-Boot; both copies of its environment hold these variables."""
    profile = _profile("uboot-bootcount")
    size_bytes = u_boot_settings(profile).size_bytes
    first = environment(variables, flags=1, size_bytes=size_bytes)
    second = environment(variables, flags=0, size_bytes=size_bytes)
    return _board(profile, ENVIRONMENT, first.ljust(SECOND_COPY, b"\xff") + second, seed)


def u_boot_settings(profile: BoardProfile) -> UbootSettings:
    """The settings of a board that is known to have U-Boot."""
    assert isinstance(profile.boot, UbootSettings)
    return profile.boot


def environment(variables: Mapping[str, str], *, flags: int, size_bytes: int) -> bytes:
    """One copy of a U-Boot environment, written without the code under test."""
    text = "".join(f"{name}={variables[name]}\0" for name in sorted(variables)) + "\0"
    data = text.encode("latin-1") + bytes(size_bytes - 5 - len(text))
    return zlib.crc32(data).to_bytes(4, "little") + bytes((flags,)) + data


def _profile(name: str) -> BoardProfile:
    path = PROFILES / f"{name}.toml"
    return parse_profile(path.read_bytes(), path.name)


def _board(profile: BoardProfile, path: str, content: bytes, seed: int) -> Board:
    power = Power(seed=seed)
    device = SimulatedBlockDevice(MemoryStore(len(content), content), power, path)
    return Board(
        profile=profile,
        power=power,
        device=device,
        storage=SimulatedStorage({path: device}),
        startable={"a", "b"},
    )
