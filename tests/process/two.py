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
from tests.cli.bench import ROOT
from tests.process.harbour import PATIENCE_S, Harbour, until

LAUNCHER = Path(__file__).with_name("launcher.py")


class Pair:
    """A device in two processes, and whoever plays its power supply."""

    def __init__(self, scene: Harbour) -> None:
        self.scene = scene
        self.folder = scene.bench.folder
        self._courier: subprocess.Popen[bytes] | None = None
        self._groups: list[int] = []

    def prepare(self, *options: str) -> None:
        """Look only when there is a reason to, and let the courier start the agent.

        The options are for the agent's interpreter.
        """
        scene = self.scene
        scene.bench.change(scene.bench.settings, "check_every_s = 10", "check_every_s = 86400")
        agent = [sys.executable, str(LAUNCHER), str(self.folder), str(scene.bench.settings)]
        agent += options
        with scene.bench.settings.open("a") as file:
            words = ", ".join(f'"{word}"' for word in agent)
            file.write(f"\n[courier]\nagent = [{words}]\n")

    def start(self) -> None:
        """Power: the courier's process, which starts the agent."""
        assert self._courier is None
        command = [sys.executable, "-m", "agent", "--config", str(self.scene.bench.settings)]
        with (self.folder / "courier.log").open("ab") as log:
            self._courier = subprocess.Popen(
                [*command, "courier"], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        self._groups.append(self._courier.pid)

    def power_off(self) -> None:
        """Nothing of this boot is left."""
        for group in self._groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        self._groups.clear()
        if self._courier is not None:
            self._courier.wait(PATIENCE_S)
            self._courier = None
        until(lambda: not self.agent, "no agent is left")

    @property
    def courier(self) -> int:
        assert self._courier is not None
        return self._courier.pid

    def kill_courier(self) -> None:
        assert self._courier is not None
        self._courier.kill()
        self._courier.wait(PATIENCE_S)
        self._courier = None

    def stop_courier(self) -> None:
        assert self._courier is not None
        self._courier.terminate()
        assert self._courier.wait(PATIENCE_S) == 0
        self._courier = None

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
        begun = [int(pid) for pid in self.words("beginnings")]
        return next((pid for pid in reversed(begun) if is_alive(pid)), 0)

    def kill_agent(self) -> None:
        os.kill(self.agent, signal.SIGKILL)

    def rests(self) -> bool:
        """Whether the last run has ended, and was not the first of its boot that did."""
        return not self.agent and bool(self.runs) and self.runs[-1] == "0"

    def notify(self) -> None:
        notify(self.scene.workspace, address=BrokerAddress("localhost", self.scene.broker.port))

    def reboots(self, count: int) -> None:
        """Wait for so many boots in all, and for the agent to make way; then the power is gone."""
        until(lambda: len(self.words("boots")) >= count, f"boot {count}", patience_s=40)
        until(lambda: self.runs.count("4") >= count, "the agent makes way")
        self.power_off()


def is_alive(pid: int) -> bool:
    """Whether there is such a process which has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def pair(scene: Harbour, *options: str) -> Iterator[Pair]:
    device = Pair(scene)
    device.prepare(*options)
    try:
        yield device
    finally:
        device.power_off()
