"""One fleet, its real servers, and one device whose agent is a real process."""

import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fleet.broker_process import BrokerKind, BrokerProcess
from fleet.collect import Collector, Event
from fleet.server import HttpsServer
from fleet.session import BrokerAddress
from fleet.store import Store, StoredReport
from fleet.workspace import Workspace
from tests.cli.bench import DEVICE, Bench, make_bench
from tests.cli.fleets import enrol, make_fleet, publish_all, release

PART_BYTES: Final = 8 * 1024 * 1024
CONTENT_BYTES: Final = 5 * 1024 * 1024
PATIENCE_S: Final = 20.0
PIECES: Final = 10
FIRMWARE: Final = Path(__file__).with_name("firmware.py")


def until(done: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Return when it is so."""
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        if done():
            return
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {patience_s} s")


def make_image(folder: Path, seed: int) -> Path:
    """A real ext4 file system with something in it."""
    tree = folder / f"tree-{seed}"
    tree.mkdir(parents=True)
    (tree / "os-release").write_text(f"ID=harbour-{seed}\n")
    (tree / "content").write_bytes(random.Random(seed).randbytes(CONTENT_BYTES))
    image = folder / f"image-{seed}.ext4"
    words = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(tree), str(image)]
    subprocess.run([*words, str(PART_BYTES // 1024)], check=True)
    return image


class Gate:
    """Stands in front of the repository: can hold back the answer in the middle of a payload."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._open = threading.Event()
        self._open.set()
        self._passed = 0

    def hold(self) -> None:
        """Hold back what follows the next few pieces of payload."""
        self._passed = 0
        self.reached.clear()
        self._open.clear()

    def let_go(self) -> None:
        self._open.set()

    def wrap(self, below: ASGIApp) -> ASGIApp:
        import asyncio  # noqa: PLC0415  # only the server's thread has a loop

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            async def gated(message: Message) -> None:
                if "/blobs/" in scope.get("path", "") and message["type"].endswith("body"):
                    self._passed += 1
                    if self._passed >= PIECES and not self._open.is_set():
                        self.reached.set()
                        for _ in range(int(PATIENCE_S / 0.02)):
                            if self._open.is_set():
                                break
                            await asyncio.sleep(0.02)
                await send(message)

            await below(scope, receive, gated)

        return app


class Manager:
    """The service manager's end of sd_notify(3)."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)
        self.told: list[str] = []

    def heard(self, words: str) -> bool:
        """Whether the service has said this so far."""
        for _ in range(10_000):
            try:
                self.told.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                break
        return any(words in line for line in self.told)

    def close(self) -> None:
        self._socket.close()


@dataclass(slots=True)
class Harbour:
    """The fleet's side and the device's side of one test."""

    workspace: Workspace
    bench: Bench
    broker: BrokerProcess
    gate: Gate
    manager: Manager
    image: Path
    events: list[Event] = field(default_factory=list)
    agent: "subprocess.Popen[str] | None" = None

    def publish(self, *, begins: timedelta = timedelta()) -> None:
        """A release of the image, and a rollout of it to everyone."""
        release(self.workspace, self.image, begins=begins, window_bytes=256 * 1024)
        publish_all(self.workspace)

    def start(self) -> None:
        """The agent's process."""
        assert self.agent is None
        self.agent = self.bench.start("run", NOTIFY_SOCKET=str(self.manager.path))

    def ended(self) -> int:
        """Wait until the agent's process has ended; its exit status."""
        assert self.agent is not None
        out, err = self.agent.communicate(timeout=PATIENCE_S)
        status = self.agent.returncode
        self.agent = None
        assert "Traceback" not in err, err
        assert status in (0, 4), f"{status}: {out}{err}"
        return status

    def stop(self) -> int:
        """Ask the agent to end, as a service manager does."""
        assert self.agent is not None
        self.agent.send_signal(signal.SIGTERM)
        return self.ended()

    def kill(self) -> None:
        """End the agent as a power cut does."""
        if self.agent is not None:
            self.agent.kill()
            self.agent.communicate()
            self.agent = None

    @property
    def reports(self) -> tuple[StoredReport, ...]:
        """What the fleet has stored of this device."""
        store = Store(self.workspace.store)
        store.open()
        try:
            return store.reports(DEVICE)
        finally:
            store.close()

    @property
    def online(self) -> bool | None:
        """What the fleet knows of this device's presence."""
        store = Store(self.workspace.store)
        store.open()
        try:
            rows = [row for row in store.devices() if row.device == DEVICE]
            return rows[0].online if rows else None
        finally:
            store.close()

    def status(self) -> dict[str, object]:
        """`lockgate status`."""
        return self.bench.call("--json", "status").document

    @contextmanager
    def collector(self) -> Iterator[None]:
        """The fleet's collector, connected."""
        address = BrokerAddress("localhost", self.broker.port)
        collector = Collector(self.workspace, tell=self.events.append, address=address)
        thread = threading.Thread(target=collector.run, name="collector")
        thread.start()
        try:
            assert collector.wait_connected(PATIENCE_S)
            yield
        finally:
            collector.stop()
            thread.join(PATIENCE_S)


@contextmanager
def harbour(folder: Path, first: Path, second: Path) -> Iterator[Harbour]:
    """Everything up but the agent; the device runs `first`, the fleet will offer `second`."""
    workspace = make_fleet(folder / "fleet")
    gate, manager = Gate(), Manager(folder)
    broker = BrokerProcess(workspace, port=0, kind=BrokerKind.MOSQUITTO)
    with broker, HttpsServer(workspace, port=0, wrap=gate.wrap) as server:
        device = folder / "device"
        bench = make_bench(
            device,
            part_bytes=PART_BYTES,
            url=f"https://localhost:{server.port}",
            broker_port=broker.port,
            reboot=(sys.executable, str(FIRMWARE), str(device), "{argument}"),
        )
        bench.change(bench.profile_file, "require_broker = false", "require_broker = true")
        (device / "root-a").write_bytes(first.read_bytes())
        enrol(workspace, bench)
        scene = Harbour(workspace, bench, broker, gate, manager, second)
        try:
            yield scene
        finally:
            gate.let_go()
            scene.kill()
            manager.close()
