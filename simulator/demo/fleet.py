"""The operator's side of the demonstration: folder, broker, server, collector, and the real commands."""

import io
import shlex
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from agent.board import BoardProfile
from agent.linux.identity import create_identity
from fleet.broker_process import BrokerProcess
from fleet.cli import main as lockgate_fleet
from fleet.collect import Collector, Event, EventKind
from fleet.rail import WorkspaceRail
from fleet.release import find_release
from fleet.server import HttpsServer
from fleet.workspace import Workspace
from simulator.demo.devices import DemoDevice, Say, told
from simulator.demo.gateway import chip_words
from simulator.demo.images import ROOT_BYTES, DemoImage
from simulator.fleet import FleetOptions, join

NAME: Final = "demo"
CONNECT_S: Final = 15.0
REFRESH_S: Final = 1
"""Devices in service look at most once a minute; nobody wants to watch that."""


class CommandError(RuntimeError):
    """A command of the operator did not do what the story needs."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass(slots=True)
class DemoFleet:
    """One fleet in one folder; `open` starts its servers and `close` stops them."""

    folder: Path
    typed: Callable[[str], None]
    say: Say
    _servers: ExitStack
    _collector: Collector | None = None
    _collecting: threading.Thread | None = None

    @property
    def workspace(self) -> Workspace:
        """The operator's folder."""
        return Workspace(self.folder / "operator")

    def command(self, *words: str, quiet: bool = False) -> str:
        """Run one command as an operator types it. Raises `CommandError`."""
        if not quiet:
            shown = shlex.join(("lockgate-fleet", *words))
            self.typed(shown.replace(f"{self.folder}/", ""))
        output = io.StringIO()
        with redirect_stdout(output), redirect_stderr(output):
            status = lockgate_fleet(["--dir", str(self.workspace.root), *words])
        if status != 0:
            raise CommandError(
                f"lockgate-fleet {words[0]} ended with {status}: {output.getvalue()}"
            )
        return output.getvalue()

    def open(self) -> None:
        """Make the fleet, and start its broker, its repository server and its collector."""
        self.workspace.root.mkdir(parents=True)
        broker_port, server_port = free_port(), free_port()
        self.command(
            *("init", "--name", NAME, "--broker-port", str(broker_port)),
            *("--repository-url", f"https://localhost:{server_port}"),
        )
        self.command("publish")
        broker = self._servers.enter_context(BrokerProcess(self.workspace, port=broker_port))
        self.say("fleet", broker.description)
        self._servers.enter_context(HttpsServer(self.workspace, port=server_port))
        self.say("fleet", f"repository: static files over TLS on 127.0.0.1:{server_port}")
        self._collect()

    def close(self) -> None:
        """Stop the servers."""
        if self._collector is not None and self._collecting is not None:
            self._collector.stop()
            self._collecting.join(CONNECT_S)
        self._servers.close()

    def release(
        self,
        image: DemoImage,
        profiles: tuple[BoardProfile, ...],
        kind: str,
        gateway: BoardProfile | None = None,
    ) -> None:
        """Make a release for all boards out of one set of images, with those of a gateway's chips."""
        words = ["release", "add", image.release, "--counter", str(image.counter), "--kind", kind]
        files = {"root": image.root, "boot": image.boot}
        for profile in profiles:
            for part in profile.parts:
                words += ["--image", f"{profile.hardware_id}:{part}={files[part]}"]
        if gateway is not None:
            words += chip_words(self.folder, gateway, image.counter)
        self.command(*words)

    def payload_bytes(self, release: str, profile: BoardProfile) -> int:
        """How many bytes a device of this kind fetches for a release that it has nothing of."""
        return sum(
            payload.length_bytes
            for image in find_release(self.workspace, release).images
            if image.hardware_id == profile.hardware_id
            for payload in image.payloads
        )

    def enrol(self, name: str, profile: BoardProfile, factory: DemoImage, seed: int) -> DemoDevice:
        """Make a device: its key and request on the device, its certificate from the fleet."""
        folder = self.folder / "devices" / name
        folder.mkdir(parents=True)
        key, request = folder / "device.key", folder / "request.csr"
        request.write_bytes(create_identity(str(key), name))
        self.command(
            *("enrol", name, "--csr", str(request), "--out", str(folder)),
            *("--folder", str(folder), "--key", str(key)),
            *("--state", str(folder / "state"), "--runtime", str(folder / "runtime")),
            *("--factory-release", factory.release, "--factory-counter", str(factory.counter)),
            quiet=True,
        )
        files: dict[str, bytes | Path] = {"root": factory.root, "boot": factory.boot}
        options = FleetOptions(
            profile=profile,
            part_bytes=ROOT_BYTES,
            state=self.folder / "slots",
            refresh_interval_min_s=REFRESH_S,
            images={part: files[part] for part in profile.parts},
        )
        simulation = join(folder, seed, options, partial(told, self.say))
        return DemoDevice(name=name, simulation=simulation, say=self.say)

    def _collect(self) -> None:
        def tell(event: Event) -> None:
            if event.kind is not EventKind.REPEATED:
                self.say("collector", f"{event.kind}  {event.device} {event.detail}".rstrip())

        collector = Collector(self.workspace, tell=tell, rail=WorkspaceRail(self.workspace))
        thread = threading.Thread(target=collector.run, name="collector", daemon=True)
        thread.start()
        if not collector.wait_connected(CONNECT_S):
            raise CommandError("the collector could not connect to the broker")
        self._collector, self._collecting = collector, thread
