"""The same scene with two processes: a courier that the test starts, and agents that the courier starts."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fleet.notify import notify
from fleet.session import BrokerAddress
from tests.process.harbour import PATIENCE_S, Harbour, until

LAUNCHER = Path(__file__).with_name("launcher.py")


class Pair:
    """A device in two processes, and whoever plays its power supply."""

    def __init__(self, scene: Harbour) -> None:
        self.scene = scene
        self.folder = scene.bench.folder
        self._courier: subprocess.Popen[str] | None = None

    def prepare(self) -> None:
        """Look only when there is a reason to, and let the courier start the agent."""
        scene = self.scene
        scene.bench.change(scene.bench.settings, "check_every_s = 10", "check_every_s = 86400")
        agent = [sys.executable, str(LAUNCHER), str(self.folder), str(scene.bench.settings)]
        with scene.bench.settings.open("a") as file:
            words = ", ".join(f'"{word}"' for word in agent)
            file.write(f"\n[courier]\nagent = [{words}]\n")

    def start(self) -> None:
        """Power: the courier's process, which starts the agent."""
        assert self._courier is None
        self._courier = self.scene.bench.start("courier")

    @property
    def courier(self) -> int:
        assert self._courier is not None
        return self._courier.pid

    def kill_courier(self) -> None:
        if self._courier is not None:
            self._courier.kill()
            self._ended()

    def stop_courier(self) -> None:
        assert self._courier is not None
        self._courier.terminate()
        assert self._ended() == 0

    def _ended(self) -> int:
        assert self._courier is not None
        courier, self._courier = self._courier, None
        status = courier.wait(PATIENCE_S)
        assert courier.stderr is not None
        assert courier.stdout is not None
        courier.stdout.close()
        courier.stderr.close()
        return status

    def words(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().split() if path.exists() else []

    @property
    def runs(self) -> list[str]:
        """How each run of the agent ended, in order."""
        return self.words("endings")

    @property
    def agent(self) -> int:
        """The agent's process now, 0 when none is there."""
        begun, ended = self.words("beginnings"), self.words("endings")
        return int(begun[-1]) if len(begun) > len(ended) else 0

    def kill_agent(self) -> None:
        os.kill(self.agent, signal.SIGKILL)

    def rests(self) -> bool:
        """Whether the last run has ended, and was not the first of its boot that did."""
        return not self.agent and bool(self.runs) and self.runs[-1] == "0"

    def notify(self) -> None:
        notify(self.scene.workspace, address=BrokerAddress("localhost", self.scene.broker.port))

    def reboots(self, count: int) -> None:
        """Wait for so many boots in all, then take the power away as a reboot does."""
        until(lambda: len(self.words("boots")) >= count, f"boot {count}", patience_s=40)
        self.kill_courier()  # which would start the agent again, as if the reboot had not come
        until(lambda: not self.agent, "the agent makes way")


@contextmanager
def pair(scene: Harbour) -> Iterator[Pair]:
    device = Pair(scene)
    device.prepare()
    try:
        yield device
    finally:
        device.kill_courier()
        with suppress(ProcessLookupError):
            if device.agent:
                device.kill_agent()
        until(lambda: not device.agent, "no agent is left")
