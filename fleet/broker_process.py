"""Runs a broker for a demonstration, a laptop or a test: mosquitto, else the embedded one.

A fleet in service runs mosquitto as a service of the operating system, with the same configuration.
"""

import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from agent.errors import BrokerError
from fleet import broker_config
from fleet.certificates import Holder, client_context, identity
from fleet.workspace import Workspace

SEARCH_PATH: Final = os.pathsep.join(("/usr/local/sbin", "/usr/sbin", "/sbin"))
START_TIMEOUT_S: Final = 15.0
STOP_TIMEOUT_S: Final = 5.0
POLL_S: Final = 0.02


class BrokerKind(StrEnum):
    """Which broker runs."""

    MOSQUITTO = "mosquitto"
    EMBEDDED = "embedded"


def find_mosquitto() -> str | None:
    """The program's path; Debian keeps it where only root looks."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=SEARCH_PATH)


class BrokerProcess:
    """A broker in a child process that ends with this context. Raises `BrokerError`.

    Port 0 means any free one; `port` says which. The configuration, the log and what the broker keeps
    lie in the workspace's `broker/`, so a broker that is started again knows what it knew.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        port: int,
        bind: str = "127.0.0.1",
        kind: BrokerKind | None = None,
    ) -> None:
        self._workspace = workspace
        self._asked_port = port
        self._bind = bind
        self._asked_kind = kind
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The port it listens on, once it was started."""
        return self._port

    @property
    def kind(self) -> BrokerKind:
        """Mosquitto where it is installed, unless the caller asked for one."""
        found = BrokerKind.MOSQUITTO if find_mosquitto() else BrokerKind.EMBEDDED
        return self._asked_kind or found

    @property
    def description(self) -> str:
        """One line that says which broker runs, and what that means."""
        place = f"{self._bind}:{self._port}"
        match self.kind:
            case BrokerKind.MOSQUITTO:
                return f"broker: mosquitto on {place}, MQTT 5, mutual TLS, topics by certificate"
            case BrokerKind.EMBEDDED:
                return (
                    f"broker: embedded (amqtt) on {place}, MQTT 3.1.1 only, forgets everything when it "
                    "stops; install mosquitto for more than a demonstration"
                )

    @property
    def log(self) -> Path:
        """What the broker prints."""
        return self._workspace.broker / "broker.log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it; return when it answers over TLS. The port stays the same after `kill`."""
        assert self._process is None, "this broker runs already"
        self._port = self._port or self._asked_port or free_port(self._bind)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._wait()
        except BrokerError:
            self.kill()
            raise

    def reload(self) -> None:
        """Let mosquitto read its access rules again; the embedded broker must be started again."""
        assert self._process is not None, "this broker does not run"
        if self.kind is BrokerKind.MOSQUITTO:
            self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """End it politely, or by force when it does not listen. A second call does nothing."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End it at once, as a power cut does: nothing is saved."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _command(self) -> list[str]:
        match self.kind:
            case BrokerKind.MOSQUITTO:
                program = find_mosquitto()
                if program is None:
                    raise BrokerError("mosquitto was expected, and is not installed; install it")
                return [program, "-c", str(self._mosquitto_configuration())]
            case BrokerKind.EMBEDDED:
                folder = str(self._workspace.root.absolute())
                place = f"{self._bind}:{self._port}"
                return [sys.executable, "-m", "fleet.embedded_broker", folder, place]

    def _mosquitto_configuration(self) -> Path:
        path = self._workspace.broker / f"mosquitto-{self._port}.conf"
        text = broker_config.configuration(self._workspace, port=self._port, bind=self._bind)
        # Started by root it would change to a user of its own, who cannot read this folder's keys.
        path.write_text(f"{text}user {pwd.getpwuid(os.geteuid()).pw_name}\n")
        return path

    def _wait(self) -> None:
        assert self._process is not None  # `start` has just made it
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._answers():
                return
            time.sleep(POLL_S)
        printed = self.log.read_text(errors="replace").splitlines()[-3:]
        raise BrokerError(
            f"{self.kind} on {self._bind}:{self._port}: did not start within "
            f"{START_TIMEOUT_S:.0f} s; {self.log} ends with: {' | '.join(printed)}"
        )

    def _answers(self) -> bool:
        context = client_context(identity(self._workspace, Holder.OPERATOR))
        host = self._workspace.settings().broker_host
        try:
            with (
                socket.create_connection((self._bind, self._port), timeout=1) as connection,
                context.wrap_socket(connection, server_hostname=host),
            ):
                return True
        except ssl.SSLCertVerificationError as error:
            raise BrokerError(
                f"{self.kind} on {self._bind}:{self._port}: its certificate is not for {host}: "
                f"{error.verify_message}; renew it, or correct broker.host in fleet.toml"
            ) from error
        except OSError:
            return False


def free_port(bind: str = "127.0.0.1") -> int:
    """A port that nobody listens on now; somebody else may take it before the caller does."""
    with socket.socket() as probe:
        probe.bind((bind, 0))
        port: int = probe.getsockname()[1]
    return port
