"""A small fleet and devices made of files, for measuring the real service at rest."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent.boot.environment import encode
from agent.config import BrokerSettings
from agent.linux.identity import create_identity
from fleet import authority, enrol
from fleet.certificates import Holder, identity
from fleet.workspace import FleetSettings, Workspace
from simulator.broker import Hub
from simulator.clock import SimulatedClock
from simulator.operator import FLEET, Operator

HOST = "localhost"
HARDWARE = "lockgate,files"
ENVIRONMENT_BYTES = 4096
SLOT_BYTES = 1024 * 1024
VARIABLES = {
    b"boot_slot": b"a",
    b"upgrade_available": b"0",
    b"bootcount": b"0",
    b"bootlimit": b"3",
}
PROFILE = """
schema = 1
name = "files"
hardware_id = "lockgate,files"
[boot]
control = "uboot"
size_bytes = {size}
slot_argument = "lockgate.slot="
[[boot.copies]]
device = "{folder}/environment"
offset = 0
[[boot.copies]]
device = "{folder}/environment"
offset = {size}
[boot.variables]
slot = "boot_slot"
trial = "upgrade_available"
boot_count = "bootcount"
boot_limit = "bootlimit"
[slots.a.parts]
root = "{folder}/slot-a"
[slots.b.parts]
root = "{folder}/slot-b"
[confirm]
within_s = 300
attempts_max = 1
require_broker = true
checks = []
"""
CONFIG = """
schema = 1
[device]
id = "{device}"
fleet = "{fleet}"
profile = "{folder}/profile.toml"
[broker]
host = "{host}"
port = {port}
authority = "{authority}"
certificate = "{folder}/device.pem"
key = "{folder}/device.key"
[repository]
urls = ["{url}"]
authority = "{authority}"
[paths]
state = "{folder}/state"
runtime = "{folder}/run"
process = "{folder}/proc"
root_of_trust = "{folder}/root.json"
[timing]
check_every_s = 86400
refresh_interval_min_s = {first_check_s}
[reboot]
command = ["true"]
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A fleet that runs: where its broker and its repository listen."""

    workspace: Workspace
    broker_port: int
    repository_url: str

    @property
    def authority(self) -> str:
        """The certificate that all others come from."""
        return str(identity(self.workspace, Holder.BROKER).authority.absolute())

    def broker(self, device: Path) -> BrokerSettings:
        """How a device reaches the broker."""
        certificate, key = device / "device.pem", device / "device.key"
        return BrokerSettings(
            HOST, self.broker_port, self.authority, str(certificate), str(key), keepalive_s=60
        )


@dataclass(frozen=True, slots=True)
class Fleet:
    """A fleet's folder, and whoever signs what is published there."""

    workspace: Workspace
    operator: Operator

    def publish(self) -> None:
        """Let the servers have what the operator has."""
        for path, content in self.operator.content.items():
            file = self.workspace.public / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    def release_to_all(self, content: bytes) -> None:
        """Sign and publish a release of this image for every device."""
        self.operator.release("os-2", 2, HARDWARE, {"root": content})
        self.operator.roll_out("to-2", "os-2")
        self.operator.publish()
        self.publish()


def new_fleet(folder: Path) -> Fleet:
    """A fleet with an authority and a published repository without a rollout."""
    folder.mkdir()
    workspace = Workspace(folder)
    settings = FleetSettings(FLEET, HOST, 8883, f"https://{HOST}:8443")
    workspace.write_settings(settings)
    authority.create(workspace, settings)
    operator = Operator(SimulatedClock(start=datetime.now(UTC)), Hub())
    operator.open()
    fleet = Fleet(workspace, operator)
    fleet.publish()
    return fleet


def enrolled(folder: Path, place: Place) -> Path:
    """A device's folder, with a key and a certificate in the folder's name."""
    request = create_identity(str(folder / "device.key"), folder.name)
    certificate = enrol.issue(place.workspace, folder.name, request, datetime.now(UTC))
    (folder / "device.pem").write_bytes(certificate)
    return folder


def make_device(folder: Path, place: Place, first_check_s: int) -> Path:
    """All files of an enrolled device; the path of its `agent.toml`.

    Its first check comes at a random moment within `first_check_s` seconds after its start.
    """
    enrolled(folder, place)
    kernel = folder / "proc/sys/kernel/random"
    kernel.mkdir(parents=True)
    (kernel / "boot_id").write_text("11111111-2222-3333-4444-555555555555\n")
    (folder / "proc/cmdline").write_text("quiet lockgate.slot=a\n")
    copy = encode(VARIABLES, flags=1, size_bytes=ENVIRONMENT_BYTES)
    (folder / "environment").write_bytes(copy + copy)
    for slot in ("slot-a", "slot-b"):
        (folder / slot).write_bytes(bytes(SLOT_BYTES))
    (folder / "root.json").write_bytes(
        (place.workspace.public / "metadata/1.root.json").read_bytes()
    )
    (folder / "profile.toml").write_text(PROFILE.format(folder=folder, size=ENVIRONMENT_BYTES))
    config = folder / "agent.toml"
    config.write_text(
        CONFIG.format(
            device=folder.name,
            fleet=FLEET,
            folder=folder,
            host=HOST,
            port=place.broker_port,
            url=place.repository_url,
            authority=place.authority,
            first_check_s=first_check_s,
        )
    )
    return config
