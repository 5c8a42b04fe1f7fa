"""How things are on Linux: read where the kernel says it, never an error where it says nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.basics import PathSettings
from agent.config import RebootSettings
from agent.linux.conditions import read_link, read_memory, read_temperature
from agent.linux.system import LinuxSystem

ROOT = Path(__file__).parents[2]


def answer(folder: Path, text: str, status: int = 0) -> tuple[str, ...]:
    program = folder / "ask"
    program.write_text(f"#!/bin/sh\necho '{text}'\nexit {status}\n")
    program.chmod(0o755)
    return (str(program),)


def test_memory_is_what_the_kernel_calls_available(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    assert read_memory(meminfo) is None
    meminfo.write_text("MemTotal:  2000 kB\nMemFree:   10 kB\nMemAvailable:   1500 kB\n")
    assert read_memory(meminfo) == 1500 * 1024
    meminfo.write_text("MemAvailable: lots\n")
    assert read_memory(meminfo) is None
    here = read_memory(Path("/proc/meminfo"))
    assert here is not None
    assert here > 0


def test_temperature_is_that_of_the_hottest_zone(tmp_path: Path) -> None:
    assert read_temperature(tmp_path) is None
    for number, text in enumerate(("48312\n", "71000\n", "-3000\n", "", "hot")):
        (tmp_path / f"thermal_zone{number}").mkdir()
        (tmp_path / f"thermal_zone{number}" / "temp").write_text(text)
    (tmp_path / "thermal_zone9").mkdir()
    assert read_temperature(tmp_path) == 71.0


@pytest.mark.parametrize(
    ("text", "metered"),
    [("u 0", None), ("u 1", True), ("u 2", False), ("u 3", True), ("u 4", False), ("what", None)],
)
def test_the_network_manager_is_asked(tmp_path: Path, text: str, metered: bool | None) -> None:  # noqa: FBT001  # a parameter
    assert read_link(tmp_path / "none", answer(tmp_path, text)) is metered


def test_without_an_answer_nobody_knows(tmp_path: Path) -> None:
    assert read_link(tmp_path / "none", (str(tmp_path / "no-such-program"),)) is None
    assert read_link(tmp_path / "none", answer(tmp_path, "u 2", status=1)) is None


def test_a_flag_file_comes_before_the_network_manager(tmp_path: Path) -> None:
    flag = tmp_path / "metered"
    for text, metered in (("yes\n", True), ("no", False), ("perhaps", True)):
        flag.write_text(text)
        assert read_link(flag, answer(tmp_path, "u 1")) is metered


def test_the_system_says_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "metered").write_text("yes")
    paths = PathSettings(state="", runtime=str(tmp_path), process="/proc", root_of_trust="")
    system = LinuxSystem(paths, RebootSettings(("true",)), {}, tmp_path)
    told = system.conditions(ask_link=True)
    assert told.memory_available_bytes is not None
    assert told.metered is True
    assert system.conditions(ask_link=False).metered is None


def test_making_way_lowers_both_priorities_and_is_taken_back() -> None:
    """In a process of its own, since it changes one."""
    program = """
import os, subprocess, sys
from agent.basics import PathSettings
from agent.config import RebootSettings
from agent.linux.system import LinuxSystem
def io(): return subprocess.check_output(["ionice", "-p", str(os.getpid())], text=True).strip()
system = LinuxSystem(PathSettings("", "", "/proc", ""), RebootSettings(("true",)))
before = os.getpriority(os.PRIO_PROCESS, 0)
system.make_way(low=True)
print(os.getpriority(os.PRIO_PROCESS, 0), io())
system.make_way(low=False)
print(os.getpriority(os.PRIO_PROCESS, 0) - before, io().partition(":")[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    low, back = done.stdout.splitlines()
    assert low == "19 idle"
    if os.geteuid() == 0:
        assert back == "0 best-effort"
