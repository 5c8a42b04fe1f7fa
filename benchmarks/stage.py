"""Where installers meet: a web server, an active slot with the old image, a standby slot with noise."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.device import make_fleet, same
from benchmarks.measure import Cost
from benchmarks.pair import Pair
from benchmarks.rows import Row, median_of, with_cost
from benchmarks.slots import copy_image, make_slot, slot
from benchmarks.web import Sent, WebServer
from fleet.certificates import Holder, identity
from fleet.workspace import Workspace

WITH_AUTHORITY: Final = 'mount --bind "$0" /etc/ssl/certs/ca-certificates.crt && exec "$@"'


@dataclass(frozen=True, slots=True)
class Stage:
    """One pair of images and all that an installer needs; the slots are devices."""

    pair: Pair
    fleet: Workspace
    server: WebServer
    active: Path
    standby: Path
    standby_file: Path
    scratch: Path
    noise: bool

    @property
    def authority(self) -> Path:
        """The certificate that the server's comes from."""
        return identity(self.fleet, Holder.REPOSITORY).authority.absolute()

    def trusting(self, *command: str) -> tuple[str, ...]:
        """A program that knows no authorities but the system's, with ours as the only one."""
        return ("unshare", "--mount", "sh", "-c", WITH_AUTHORITY, str(self.authority), *command)


Installer = Callable[[], Cost]
"""Installs the new image onto the standby slot, once."""


@contextmanager
def stage(pair: Pair, *, noise: bool = True) -> Iterator[Stage]:
    """The server and both slots, for the length of this context. Peers need root for their devices.

    The standby slot holds noise before each installation, or has been erased.
    """
    if os.geteuid() != 0:
        raise SystemExit("installers are measured on loop devices: run this as root")
    scratch = pair.work / "stage"
    with ExitStack() as stack:
        stack.callback(_clear, scratch)
        _clear(scratch)
        scratch.mkdir(parents=True)
        fleet = make_fleet(scratch / "fleet")
        own = identity(fleet, Holder.REPOSITORY)
        names = str(own.certificate.absolute()), str(own.key.absolute())
        pair.served.mkdir(parents=True, exist_ok=True)
        (pair.served / "fleet").unlink(missing_ok=True)
        (pair.served / "fleet").symlink_to(fleet.public)
        server = stack.enter_context(WebServer(pair.served, scratch / "web", *names))
        files = scratch / "active", scratch / "standby"
        copy_image(pair.old, files[0])
        make_slot(files[1], pair.new.stat().st_size, noise=noise)
        devices = [stack.enter_context(slot(file)) for file in files]
        yield Stage(pair, fleet, server, devices[0], devices[1], files[1], scratch, noise)


def rows(stage: Stage, section: str, installers: dict[str, Installer], runs: int) -> Iterator[Row]:
    """Let the installers take turns, so that a busy moment hits all; one row for each, checked."""
    found: dict[str, list[Row]] = {name: [] for name in installers}
    for _ in range(runs):
        for name, installer in installers.items():
            make_slot(stage.standby_file, stage.pair.new.stat().st_size, noise=stage.noise)
            before = stage.server.sent
            cost = installer()
            same(stage.standby, stage.pair.new)
            sent = stage.server.sent - before
            found[name].append(_row(section, stage.pair.name, name, sent, cost))
    for several in found.values():
        yield median_of(several)


def _row(section: str, pair: str, tool: str, sent: Sent, cost: Cost) -> Row:
    return with_cost(Row(section, pair, tool, sent.body_bytes or None, sent.requests or None), cost)


def _clear(folder: Path) -> None:

    shutil.rmtree(folder, ignore_errors=True)
