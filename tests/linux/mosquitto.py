"""A real mosquitto with mutual TLS on a free port, and its own command-line clients beside it."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.config import BrokerSettings
from tests.linux.authority import Authority, Credential

DEVICE = "device-1"
HOST = "127.0.0.1"
# Everyone may do everything but publish to one topic.
ACCESS = "topic readwrite lockgate/#\ntopic deny lockgate/forbidden\n"


@dataclass(frozen=True, slots=True)
class Mosquitto:
    """One that runs."""

    port: int
    authority: Authority
    device: Credential
    process: subprocess.Popen[bytes]

    def settings(self, *, keepalive_s: int = 60, authority: str = "") -> BrokerSettings:
        return BrokerSettings(
            host=HOST,
            port=self.port,
            authority=authority or self.authority.path,
            certificate=self.device.certificate,
            key=self.device.key,
            keepalive_s=keepalive_s,
        )

    def publish(self, topic: str, content: str, *options: str) -> None:
        command = (*self.client("mosquitto_pub", "-q", "1"), "-t", topic, "-m", content, *options)
        subprocess.run(command, check=True, timeout=10, capture_output=True)

    def wait_for(self, topic: str, *options: str, timeout_s: int = 10) -> str:
        """The next message on a topic, as seen by mosquitto_sub."""
        return subprocess.run(
            (*self.client("mosquitto_sub", "-C", "1", "-W", str(timeout_s)), "-t", topic, *options),
            check=False,
            timeout=timeout_s + 10,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def client(self, program: str, *options: str) -> tuple[str, ...]:
        address = ("-h", HOST, "-p", str(self.port), "--cafile", self.authority.path)
        identity = ("--cert", self.device.certificate, "--key", self.device.key)
        return (program, *address, *identity, *options)


@contextmanager
def running_mosquitto(folder: Path) -> Iterator[Mosquitto]:
    authority = Authority(folder)
    server = authority.issue(HOST)
    device = authority.issue(DEVICE)
    (folder / "access").write_text(ACCESS)
    port = free_port()
    (folder / "mosquitto.conf").write_text(
        f"listener {port} {HOST}\n"
        f"cafile {authority.path}\ncertfile {server.certificate}\nkeyfile {server.key}\n"
        f"require_certificate true\nallow_anonymous true\nacl_file {folder}/access\n"
        f"user root\n"
    )
    (folder / "access").chmod(0o600)
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program is not None, "mosquitto must be installed"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            (program, "-c", str(folder / "mosquitto.conf")), stdout=log, stderr=log
        )
    try:
        wait_for_port(port, process)
        yield Mosquitto(port, authority, device, process)
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(200):
        assert process.poll() is None, "the broker ended at once"
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the broker does not listen")
