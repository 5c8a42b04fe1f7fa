"""A device that cannot begin is heard of, and begins when what was in its way is gone."""

import json

from agent import journal as journals
from agent.board import UbootSettings
from agent.boot.medium import SECTOR_BYTES
from agent.report import Outcome, Status, parse_status
from agent.topics import Topics
from simulator.faults import Storing
from simulator.lab import Lab, make_lab
from simulator.profiles import load_profile


def said(lab: Lab) -> Status:
    """What the broker keeps of the device's status."""
    topics = Topics(lab.operator.fleet, "device-1")
    return parse_status(lab.hub.retained[topics.state].content)


def test_a_full_disk_at_boot_is_told_to_the_fleet(lab: Lab) -> None:
    lab.faults.add(Storing.DISK_FULL, journals.FILE, times=100)
    lab.device.run(60.0)
    status = said(lab)
    assert status.phase == "waiting"
    assert status.detail.startswith("state: journal.json: cannot be written")
    lab.faults.clear()
    lab.ship()
    lab.device.run_until_quiet()
    assert lab.operator.outcomes() == [Outcome.CONFIRMED]
    assert said(lab).phase == "idle"


def test_a_boot_state_that_cannot_be_read_is_told_to_the_fleet() -> None:
    lab = make_lab(load_profile("uboot-bootcount"), seed=7)
    lab.device.run(30.0)
    boot = lab.profile.boot
    assert isinstance(boot, UbootSettings), "the board boots by U-Boot"
    devices = [lab.device.board.storage.devices[copy.device] for copy in boot.copies]
    for device in devices:
        device.faults.bad_sectors.update(range(device.size_bytes // SECTOR_BYTES))
    lab.device.lose_power()  # U-Boot starts by its built-in environment
    lab.device.run(lab.clock.now_s + 120.0)
    status = said(lab)
    assert (status.phase, status.slot) == ("waiting", "")
    assert status.detail.startswith("boot-control: ")
    for device in devices:
        device.faults.bad_sectors.clear()
    lab.device.run(lab.clock.now_s + 120.0)
    assert said(lab).phase == "idle"


def test_who_cannot_be_reached_is_not_waited_for(lab: Lab) -> None:
    lab.hub.stop()
    lab.faults.add(Storing.DISK_FULL, journals.FILE, times=2)
    lab.device.run(300.0)
    assert lab.device.quiet
    assert json.loads(lab.device.board.files.content[journals.FILE])["body"]["installed"]
