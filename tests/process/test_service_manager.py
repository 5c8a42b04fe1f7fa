"""The two processes under a service manager, which makes the sockets and starts whoever is called."""

import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent.linux.courier.sockets import FETCHES, SESSION
from agent.linux.wake import WAKE_SOCKET
from fleet.notify import notify
from fleet.session import BrokerAddress
from tests.cli.bench import ROOT
from tests.process.harbour import PATIENCE_S, Harbour, until

HIGH = 50  # descriptors from here on cannot collide with those that are passed
PASS = 'exec 3<&$0 4<&$1; shift; LISTEN_PID=$$ exec "$@"'


class Manager:
    """What systemd does with lockgate-courier.socket and lockgate-agent.socket."""

    def __init__(self, scene: Harbour) -> None:
        self._scene = scene
        self._log = scene.bench.folder / "manager.log"
        self._sockets: dict[str, socket.socket] = {}
        self._running: list[subprocess.Popen[bytes]] = []

    def listen(self, stack: ExitStack) -> None:
        """Make the sockets, before anyone is there to use them."""
        runtime = Path(self._scene.bench.config.paths.runtime)
        runtime.mkdir(exist_ok=True)
        for name in (SESSION, FETCHES):
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            listener.bind(str(runtime / name))
            listener.listen()
            self._sockets[name] = stack.enter_context(listener)
        wake = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        wake.bind(str(runtime / WAKE_SOCKET))
        self._sockets[WAKE_SOCKET] = stack.enter_context(wake)
        stack.callback(self.end)

    def start(self, verb: str, *names: str) -> "subprocess.Popen[bytes]":
        """Start a process with these sockets as its descriptors from 3 on."""
        given = [fcntl.fcntl(self._sockets[name], fcntl.F_DUPFD, HIGH) for name in names]
        first, second = given[0], given[-1]
        command = [sys.executable, "-m", "agent", "--config", str(self._scene.bench.settings), verb]
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                ["bash", "-c", PASS, str(first), str(second), *command],
                pass_fds=given,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={**os.environ, "LISTEN_FDS": str(len(names))},
            )
        for descriptor in given:
            os.close(descriptor)
        self._running.append(process)
        return process

    def is_called(self) -> bool:
        """Whether a datagram waits, for which the agent is to be started."""
        poller = select.poll()
        poller.register(self._sockets[WAKE_SOCKET], select.POLLIN)
        return bool(poller.poll(20))

    def answer(self) -> int:
        """Wait for a call and start the agent for it; how that ended."""
        until(self.is_called, "the courier calls")
        return self.start("agent", WAKE_SOCKET).wait(PATIENCE_S)

    def end(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()


@pytest.fixture
def manager(scene: Harbour) -> Iterator[Manager]:
    bench = scene.bench
    bench.change(bench.settings, "check_every_s = 10", "check_every_s = 86400")
    with ExitStack() as stack:
        made = Manager(scene)
        made.listen(stack)
        yield made


def test_each_call_starts_the_agent_once_and_none_is_left_over(
    manager: Manager, scene: Harbour
) -> None:
    courier = manager.start("courier", SESSION, FETCHES)
    assert manager.answer() == 0, "it has looked, and rests"
    assert not manager.is_called(), "a call that was not drained would start it for ever"
    for _ in range(2):
        notify(scene.workspace, address=BrokerAddress("localhost", scene.broker.port))
        assert manager.answer() == 0
        assert not manager.is_called()
    with scene.collector():
        until(lambda: scene.online is True, "the device is online while no agent runs")
        courier.send_signal(signal.SIGTERM)
        assert courier.wait(PATIENCE_S) == 0
        until(lambda: scene.online is False, "it says goodbye")
    text = (scene.bench.folder / "manager.log").read_text()
    assert text.count("lockgate: resting") == 3
    assert "Traceback" not in text
