"""A whole device made of files, with a signed repository, for measuring the real service at rest."""

from datetime import UTC, datetime
from pathlib import Path

from agent.boot.environment import encode
from simulator.broker import Hub
from simulator.clock import SimulatedClock
from simulator.operator import FLEET, Operator
from tests.linux.mosquitto import HOST, Mosquitto

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
certificate = "{certificate}"
key = "{key}"
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


def published_fleet() -> Operator:
    """A fleet without a rollout, signed now."""
    operator = Operator(SimulatedClock(start=datetime.now(UTC)), Hub())
    operator.open()
    return operator


def make_device(
    folder: Path, operator: Operator, mosquitto: Mosquitto, url: str, first_check_s: int
) -> Path:
    """All files of a device, which has the folder's name; the path of its `agent.toml`."""
    random = folder / "proc/sys/kernel/random"
    random.mkdir(parents=True)
    (random / "boot_id").write_text("11111111-2222-3333-4444-555555555555\n")
    (folder / "proc/cmdline").write_text("quiet lockgate.slot=a\n")
    copy = encode(VARIABLES, flags=1, size_bytes=ENVIRONMENT_BYTES)
    (folder / "environment").write_bytes(copy + copy)
    for slot in ("slot-a", "slot-b"):
        (folder / slot).write_bytes(bytes(SLOT_BYTES))
    (folder / "root.json").write_bytes(operator.root_of_trust)
    (folder / "profile.toml").write_text(PROFILE.format(folder=folder, size=ENVIRONMENT_BYTES))
    config = folder / "agent.toml"
    config.write_text(
        CONFIG.format(
            device=folder.name,
            fleet=FLEET,
            folder=folder,
            host=HOST,
            port=mosquitto.port,
            url=url,
            authority=mosquitto.authority.path,
            certificate=mosquitto.device.certificate,
            key=mosquitto.device.key,
            first_check_s=first_check_s,
        )
    )
    return config
