"""The device in two processes: what one of them does without the other, and that nothing is lost by it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.commands.courier import LEAN, PACKAGES
from agent.report import Outcome
from tests.process.harbour import Harbour, until
from tests.process.two import Pair, pair

HEAVY = {
    "tuf", "securesystemslib", "cryptography", "requests", "urllib3", "serial", "backports", "paho",
    "dataclasses", "tomllib", "argparse", "json", "http", "asyncio", "logging", "threading",
}  # fmt: skip
SLOW = HEAVY - {"json", "tomllib"} | {
    "agent.config", "agent.interfaces", "agent.service", "_strptime", "ctypes", "email", "inspect", "pathlib",
    "random", "shutil", "ssl", "subprocess", "tempfile", "urllib",
}  # fmt: skip
"""What loads slowly. Together it took half of a glance before it did without."""
NEVER = {"agent.flash.select", "argparse", "http.client", "ssl", "urllib3"}
"""What took a third of a check on a device without microcontrollers."""
PRIVATE_KIB_MAX = 12 * 1024


@pytest.fixture
def device(scene: Harbour) -> Iterator[Pair]:
    with pair(scene) as made:
        yield made


def confirmed(device: Pair) -> None:
    """From the boot into the new slot until the agent rests again, and the fleet knows."""
    scene = device.scene
    with scene.collector():
        device.start()
        until(lambda: bool(scene.reports), "the report is stored")
        until(lambda: device.rests() and scene.status()["reports_waiting"] == 0, "it rests again")
        assert scene.online is True
        device.stop_courier()
        until(lambda: scene.online is False, "the courier says goodbye")
    (stored,) = scene.reports
    assert (stored.report.outcome, stored.report.release) == (Outcome.CONFIRMED, "os-7")
    assert (scene.bench.folder / "root-b").read_bytes() == scene.image.read_bytes()
    for name in ("agent.log", "courier.log"):
        assert "Traceback" not in (device.folder / name).read_text()


def test_a_notice_wakes_the_agent_that_rests_and_the_update_goes_through(device: Pair) -> None:
    device.start()
    until(device.rests, "it has looked, found nothing and rests")
    assert private_kib(device.courier) < PRIVATE_KIB_MAX
    device.scene.publish()
    device.notify()
    device.reboots(1)
    confirmed(device)
    assert device.words("boots") == ["b"]


def test_a_notice_that_comes_while_an_agent_ends_starts_the_next_one_soon(device: Pair) -> None:
    device.start()
    until(device.rests, "it has looked")
    for count in range(1, 5):
        ended = len(device.runs)
        device.notify()
        until(lambda: len(device.words("beginnings")) > ended, "it is started")  # noqa: B023  # called at once
        device.notify()
        until(lambda: len(device.runs) > ended and device.rests(), f"it rests, {count}")  # noqa: B023  # as above


def test_what_waits_after_an_update_is_as_small_as_before(device: Pair) -> None:
    device.scene.publish()
    device.start()
    until(lambda: len(device.words("boots")) == 1, "it has fetched and installed", patience_s=40)
    assert private_kib(device.courier) < PRIVATE_KIB_MAX
    maps = Path(f"/proc/{device.courier}/maps").read_text()
    assert not [name for name in ("cryptography", "zstd", "_json", "site-packages") if name in maps]


def test_an_agent_whose_report_nobody_answers_rests_all_the_same(device: Pair) -> None:
    device.scene.publish()
    device.start()
    device.reboots(1)
    before = device.runs.count("0")
    device.start()
    until(lambda: device.runs.count("0") > before, "it rests")
    assert device.scene.status()["reports_waiting"] == 1


def test_the_process_that_waits_loads_nothing_that_it_does_not_need() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import agent.linux.courier.resident; "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    command = (sys.executable, *LEAN, "-c", script, str(PACKAGES))
    found = subprocess.run(command, capture_output=True, check=True, text=True, timeout=30)
    assert not HEAVY & set(found.stdout.split())


def loaded(log: str) -> set[str]:
    """The modules that an interpreter says it has loaded."""
    lines = (line for line in log.splitlines() if line.startswith("import time"))
    return {line.rpartition("|")[2].strip() for line in lines}


def test_neither_a_glance_nor_a_check_loads_what_it_can_do_without(scene: Harbour) -> None:
    with pair(scene, "-X", "importtime") as device:
        device.start()
        until(device.rests, "it has looked")
        ended, log = len(device.runs), device.folder / "agent.log"
        checked = log.read_text()
        time.sleep(
            1.1
        )  # `refresh_interval_min_s`: what is due soon after is waited for by all of the agent
        device.notify()
        until(lambda: len(device.runs) > ended and device.rests(), "it has glanced")
        glanced = log.read_text()[len(checked) :]
    assert "agent.glance" in loaded(glanced)
    assert not SLOW & loaded(glanced)
    assert "tuf.ngclient.updater" in loaded(checked)
    assert not NEVER & loaded(checked)


def test_a_courier_that_is_killed_in_mid_install_costs_only_time(device: Pair) -> None:
    scene = device.scene
    scene.publish()
    scene.gate.hold()
    device.start()
    assert scene.gate.reached.wait(20)
    device.kill_courier()
    scene.gate.let_go()
    device.start()
    device.reboots(1)
    confirmed(device)


def test_an_agent_that_is_killed_in_mid_install_is_started_again_and_goes_on(device: Pair) -> None:
    scene = device.scene
    scene.publish()
    scene.gate.hold()
    device.start()
    assert scene.gate.reached.wait(20)
    device.kill_agent()
    until(lambda: "-9" in device.runs, "it is dead")
    scene.gate.let_go()
    device.reboots(1)
    confirmed(device)


def test_a_broker_that_dies_while_the_agent_rests_is_found_again_by_the_courier(
    device: Pair,
) -> None:
    scene = device.scene
    with scene.collector():
        device.start()
        until(lambda: device.rests() and scene.online is True, "it rests")
        scene.broker.kill()
        scene.broker.start()
        scene.publish()
        until(lambda: scene.online is True, "the courier is back")
    device.notify()
    device.reboots(1)


def private_kib(pid: int) -> int:
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    memory = {name: int(rest.split()[0]) for name, rest in (row.split(":", 1) for row in rows)}
    return memory["Private_Clean"] + memory["Private_Dirty"]
