"""U-Boot's own user-space tools read what we write, and we read what they write."""

import subprocess
from pathlib import Path

import pytest

from agent.boot import BootControl
from agent.boot.environment import flags_of
from agent.boot.select import boot_control
from agent.interfaces import SystemFacts
from simulator.block_device import SimulatedBlockDevice, SimulatedStorage, SparseFileStore
from simulator.power import Power
from tests.boot.boards import ENVIRONMENT, FRESH, SECOND_COPY, environment, u_boot, u_boot_settings

SIZE = 16384


class Tools:
    """A file with two copies, `fw_printenv` and `fw_setenv` over it, and the agent's control."""

    def __init__(self, folder: Path, flags: tuple[int, int]) -> None:
        self.config = folder / "fw_env.config"
        self.medium = folder / "medium"
        self.config.write_text(
            f"{self.medium} 0x0 {SIZE:#x}\n{self.medium} {SECOND_COPY:#x} {SIZE:#x}\n"
        )
        first, second = (environment(FRESH, flags=flag, size_bytes=SIZE) for flag in flags)
        self.medium.write_bytes(first.ljust(SECOND_COPY, b"\xff") + second)

    def control(self, slot: str) -> BootControl:
        store = SparseFileStore(self.medium, self.medium.stat().st_size)
        storage = SimulatedStorage({ENVIRONMENT: SimulatedBlockDevice(store, Power())})
        facts = SystemFacts("boot", (), (f"lockgate.slot={slot}",), None, None)
        return boot_control(u_boot().profile, storage, facts)

    def flags(self) -> tuple[int, int]:
        content = self.medium.read_bytes()
        return flags_of(content), flags_of(content[SECOND_COPY:])

    def printed(self) -> dict[str, str]:
        lines = self._run("fw_printenv", "").splitlines()
        return dict(line.split("=", 1) for line in lines)

    def set(self, **variables: str) -> None:
        self._run("fw_setenv", "".join(f"{k}={v}\n" for k, v in variables.items()), "-s", "-")

    def _run(self, tool: str, text: str, *arguments: str) -> str:
        done = subprocess.run(
            (tool, "-c", str(self.config), *arguments),
            input=text, capture_output=True, text=True, check=True, timeout=30,
        )  # fmt: skip
        return done.stdout


PAIRS = [(1, 0), (0, 1), (5, 5), (255, 254), (254, 255), (255, 0), (0, 255), (3, 200)]


@pytest.mark.parametrize("flags", PAIRS)
def test_the_tools_read_what_we_write(flags: tuple[int, int], tmp_path: Path) -> None:
    tools = Tools(tmp_path, flags)
    tools.control("a").try_next("b", 3)
    armed = {"boot_slot": "b", "upgrade_available": "1", "bootcount": "0", "bootlimit": "3"}
    assert tools.printed() == FRESH | armed
    tools.control("b").confirm("b")
    assert tools.printed() == FRESH | {"boot_slot": "b"}
    written = {(flags[place] + 1) % 256 for place in (0, 1)}
    assert written & set(tools.flags())


@pytest.mark.parametrize("flags", PAIRS)
def test_we_read_what_the_tools_write(flags: tuple[int, int], tmp_path: Path) -> None:
    tools = Tools(tmp_path, flags)
    assert tools.control("a").default() == "a"
    for count in range(3):
        tools.set(upgrade_available="1", boot_slot="b", bootcount=str(count), extra="kept")
        assert tools.control("b").armed()
        assert tools.control("b").default() == "a"
    tools.control("b").disarm()
    assert tools.printed() == FRESH | {"extra": "kept", "bootcount": "0"}


def test_both_writers_agree_through_a_whole_wrap_of_the_flags(tmp_path: Path) -> None:
    tools = Tools(tmp_path, (250, 249))
    for number in range(6):
        tools.control("a").try_next("b", 1 + number % 3)
        assert tools.printed()["bootlimit"] == str(1 + number % 3)
        tools.set(upgrade_available="0", boot_slot="a")
        assert not tools.control("a").armed()
    assert set(tools.flags()) == {(250 + 12) % 256, (250 + 11) % 256}


def test_the_profile_and_the_tools_name_the_same_places() -> None:
    settings = u_boot_settings(u_boot().profile)
    assert settings.size_bytes == SIZE
    assert [copy.offset for copy in settings.copies] == [0, SECOND_COPY]
