"""The units for systemd keep the network and the disk apart, and agree with the program."""

import os
from configparser import RawConfigParser

from agent.linux.courier.sockets import FETCHES, SESSION, passed
from agent.linux.wake import WAKE_SOCKET
from agent.service import LISTEN_S_MAX
from tests.cli.bench import ROOT

FIRST = 3


def unit(name: str) -> dict[str, list[str]]:
    """Every setting of a unit, with all its values."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "packaging" / name).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_the_agent_s_unit_has_no_network_and_the_courier_s_no_disk() -> None:
    agent, courier = unit("lockgate-agent.service"), unit("lockgate-courier.service")
    assert agent["PrivateNetwork"] == ["yes"]
    assert agent["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert courier["CapabilityBoundingSet"] == [""]
    assert courier["PrivateDevices"] == ["yes"]
    assert courier["User"] == unit("lockgate-agent.socket")["SocketGroup"]
    assert "DeviceAllow" not in courier
    assert "StateDirectory" not in courier


def test_the_units_start_what_the_program_calls_by_the_names_that_it_uses() -> None:
    assert unit("lockgate-agent.service")["ExecStart"] == ["/opt/lockgate/bin/lockgate agent"]
    assert unit("lockgate-courier.service")["ExecStart"][0].endswith("courier")
    assert unit("lockgate-agent.socket")["ListenDatagram"] == [f"/run/lockgate/{WAKE_SOCKET}"]
    assert unit("lockgate-courier.socket")["ListenSequentialPacket"] == [
        f"/run/lockgate/{SESSION}",
        f"/run/lockgate/{FETCHES}",
    ]
    watchdog = unit("lockgate-agent.service")["WatchdogSec"][0]
    assert int(watchdog.removesuffix("min")) * 60 >= 2 * LISTEN_S_MAX
    for name in ("lockgate-agent.service", "lockgate-courier.service"):
        RawConfigParser(strict=False).read(ROOT / "packaging" / name)


def test_sockets_are_taken_from_a_service_manager_only_if_they_are_for_this_process() -> None:
    own = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"}
    assert passed(own) == (FIRST, FIRST + 1)
    assert passed(own | {"LISTEN_PID": "1"}) == ()
    assert passed(own | {"LISTEN_FDS": "x"}) == ()
    assert passed({}) == ()
