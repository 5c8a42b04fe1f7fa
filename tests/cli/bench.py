"""A device made of files in one folder: slots, boot state, /proc and settings; and how to call it."""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.board import BoardProfile, parse_profile
from agent.cli import main
from agent.config import Config, parse_config
from simulator.fat import fat_image

HARDWARE: Final = "raspberrypi,4-model-b"
DEVICE: Final = "lock-1"
FLEET: Final = "harbour"
AUTOBOOT: Final = "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n"
ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call of the program gave back."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object on the standard output."""
        document: dict[str, Any] = json.loads(self.out)
        return document

    @property
    def error(self) -> dict[str, Any]:
        """The JSON object on the standard error."""
        document: dict[str, Any] = json.loads(self.err)
        return document


@dataclass(frozen=True, slots=True)
class Bench:
    """One device in a folder."""

    folder: Path

    @property
    def settings(self) -> Path:
        return self.folder / "agent.toml"

    @property
    def profile_file(self) -> Path:
        return self.folder / "board.toml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def reboots(self) -> list[str]:
        """The arguments of the reboots that were asked for."""
        path = self.folder / "reboots"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def config(self) -> Config:
        return parse_config(self.settings.read_bytes(), str(self.settings))

    @property
    def profile(self) -> BoardProfile:
        return parse_profile(self.profile_file.read_bytes(), str(self.profile_file))

    def call(self, *words: str) -> Answer:
        """The program in this process."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main(["--config", str(self.settings), *words])
        return Answer(status, out.getvalue(), err.getvalue())

    def start(self, *words: str, **environment: str) -> "subprocess.Popen[str]":
        """The program in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "agent", "--config", str(self.settings), *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def boot(self, slot: str, *, boot_id: str, tryboot: bool) -> None:
        """Write /proc as it is after the firmware started this slot."""
        process = self.folder / "proc"
        words = process / "device-tree/chosen/bootloader"
        (process / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
        words.mkdir(parents=True, exist_ok=True)
        (process / "sys/kernel/random/boot_id").write_text(f"{boot_id}\n")
        (process / "cmdline").write_text("console=ttyS0 root=/dev/ram quiet\n")
        (process / "device-tree/compatible").write_bytes(f"{HARDWARE}\0brcm,bcm2711\0".encode())
        (words / "partition").write_bytes((2 if slot == "a" else 3).to_bytes(4, "big"))
        (words / "tryboot").write_bytes(int(tryboot).to_bytes(4, "big"))

    def change(self, path: Path, old: str, new: str) -> None:
        """Replace words in one of the files, which must be there."""
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


def make_bench(
    folder: Path,
    *,
    part_bytes: int = 64 * 1024,
    url: str = "https://localhost:1",
    broker_port: int = 1,
    check: str = "true",
    reboot: tuple[str, ...] = (),
) -> Bench:
    """A device that runs slot a as it left the factory; nothing of its network is there yet."""
    bench = Bench(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("root-a", "root-b"):
        with (folder / name).open("wb") as file:
            file.truncate(part_bytes)
    (folder / "boot").write_bytes(
        fat_image({"autoboot.txt": AUTOBOOT.encode().ljust(128, b"\n")}, 64 * 1024)
    )
    (folder / "root.json").write_text('{"signatures": [], "signed": {"_type": "root"}}')
    bench.profile_file.write_text(_profile(folder, check))
    script = folder / "reboot"
    script.write_text(f'#!/bin/sh\necho "$1" >> "{folder}/reboots"\n')
    script.chmod(0o755)
    command = reboot or (str(script), "{argument}")
    bench.settings.write_text(_settings(folder, url, broker_port, command))
    bench.boot("a", boot_id="boot-1", tryboot=False)
    return bench


def _profile(folder: Path, check: str) -> str:
    return f"""\
schema = 1
name = "bench"
hardware_id = "{HARDWARE}"

[boot]
control = "tryboot"
config_partition = "{folder}/boot"

[slots.a]
boot_partition = 2
[slots.a.parts]
root = "{folder}/root-a"

[slots.b]
boot_partition = 3
[slots.b.parts]
root = "{folder}/root-b"

[confirm]
within_s = 20
attempts_max = 2
require_broker = false

[[confirm.checks]]
name = "bench"
command = ["{check}"]
timeout_s = 5
"""


def _settings(folder: Path, url: str, broker_port: int, reboot: tuple[str, ...]) -> str:
    return f"""\
schema = 1

[device]
id = "{DEVICE}"
fleet = "{FLEET}"
profile = "{folder}/board.toml"

[broker]
host = "localhost"
port = {broker_port}
authority = "{folder}/authority.pem"
certificate = "{folder}/certificate.pem"
key = "{folder}/device.key"

[repository]
urls = ["{url}"]
authority = "{folder}/authority.pem"

[paths]
state = "{folder}/state"
runtime = "{folder}/runtime"
process = "{folder}/proc"
root_of_trust = "{folder}/root.json"

[timing]
check_every_s = 10
refresh_interval_min_s = 1
retry_max_s = 1

[reboot]
command = {json.dumps(list(reboot))}
"""
