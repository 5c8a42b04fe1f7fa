"""Other update agents at rest, started as their own documents say, with nothing to do.

They are not asked to do the same: RAUC's service has no network at all, SWUpdate serves a page for uploads,
Mender's client polls a server (here one that does not answer). None of them holds a session.
"""

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Final

BUS: Final = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={folder}/bus</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/></policy></busconfig>
"""
RAUC: Final = """[system]
compatible=bench
bootloader=noop
statusfile={folder}/status
data-directory={folder}/data
[keyring]
path={folder}/keyring.pem
[slot.rootfs.0]
device={folder}/slot-a
type=raw
bootname=A
[slot.rootfs.1]
device={folder}/slot-b
type=raw
bootname=B
"""
MENDER: Final = {
    "ServerURL": "https://127.0.0.1:1",
    "UpdatePollIntervalSeconds": 1800,
    "InventoryPollIntervalSeconds": 28_800,
    "RetryPollIntervalSeconds": 300,
    "DBus": {"Enabled": False},
    "RootfsPartA": "/dev/null",
    "RootfsPartB": "/dev/null",
}
PROGRAMS: Final = ("rauc", "dbus-daemon", "swupdate", "mender")
Commands = dict[str, tuple[str, ...]]


def peers(folder: Path, port: int) -> Commands:
    """The commands of those that are installed, in the order in which they must start."""
    folder.mkdir()
    there = {name for name in PROGRAMS if shutil.which(name)}
    commands: Commands = {}
    if {"rauc", "dbus-daemon"} <= there:
        commands |= _rauc(folder)
    if "swupdate" in there:
        page = folder / "page"
        page.mkdir()
        commands["SWUpdate, its web server"] = _swupdate(folder, page, port)
    if "mender" in there:
        commands["Mender client, daemon"] = _mender(folder)
    return commands


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(folder: Path) -> dict[str, str]:
    """Where they find the bus that is theirs alone."""
    return {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={folder}/bus"}


def _rauc(folder: Path) -> Commands:
    (folder / "bus.conf").write_text(BUS.format(folder=folder))
    (folder / "system.conf").write_text(RAUC.format(folder=folder))
    (folder / "data").mkdir()
    for slot in ("slot-a", "slot-b"):
        (folder / slot).write_bytes(bytes(4096))
    _certificate(folder / "keyring.pem", folder / "keyring.key")
    bus = ("dbus-daemon", f"--config-file={folder}/bus.conf", "--nofork")
    service = ("rauc", "-c", f"{folder}/system.conf", "--override-boot-slot=A", "service")
    return {"dbus-daemon, which RAUC needs": bus, "RAUC, its service": service}


def _swupdate(folder: Path, page: Path, port: int) -> tuple[str, ...]:
    _certificate(folder / "swupdate.pem", folder / "swupdate.key")
    return ("swupdate", "-k", f"{folder}/swupdate.pem", "-w", f"-r {page} -p {port}")


def _mender(folder: Path) -> tuple[str, ...]:
    (folder / "mender").mkdir()
    settings = folder / "mender.conf"
    settings.write_text(json.dumps(MENDER))
    return ("mender", "--config", str(settings), "--data", f"{folder}/mender", "daemon")


def _certificate(certificate: Path, key: Path) -> None:
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=bench")
    subprocess.run(
        (*command, "-keyout", str(key), "-out", str(certificate)), check=True, capture_output=True
    )
