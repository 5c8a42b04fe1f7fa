"""The agent's ends of the sockets to the courier, with nothing of what an update needs."""

import hashlib
import os
from typing import Final, NamedTuple

from agent.basics import Basics
from agent.glance import Glance
from agent.linux.clock import LinuxClock
from agent.linux.courier.broker import CourierBroker
from agent.linux.courier.repository import CourierRepository
from agent.linux.courier.rest import CourierRest
from agent.linux.courier.sockets import FETCHES, SESSION, passed
from agent.linux.files import LinuxFiles
from agent.linux.random import LinuxRandom
from agent.linux.wake import WAKE_SOCKET, Waker
from agent.rest import encode_memory, parse_memory

BOOT_ID: Final = "sys/kernel/random/boot_id"


class Ends(NamedTuple):
    """What an agent has instead of a network."""

    basics: Basics
    broker: CourierBroker
    repository: CourierRepository
    rest: CourierRest

    def glance(self) -> bool:
        """Whether there is nothing to do, and this process may end. Raises `UpdateError`."""
        self.rest.attach()
        memory = parse_memory(self.rest.remembered(), self._boot_id())
        if memory is None:
            return False
        files = LinuxFiles(self.basics.paths.state)
        glance = Glance(self.basics, LinuxClock(), LinuxRandom(), files)
        found = glance.look(memory, self.broker, self.repository)
        if found is None:
            return False
        wake_after_s = found.check_due_ms / 1000 - LinuxClock().monotonic_s()
        content = encode_memory(found)
        return self.rest.rest(max(0.0, wake_after_s), on_session=False, memory=content)

    def _boot_id(self) -> str:
        content = _read(f"{self.basics.paths.process}/{BOOT_ID}")
        return content.decode(errors="replace").strip()


def ends_of(basics: Basics, settings: str) -> Ends:
    """For the settings at this path; what is remembered from other settings is forgotten."""
    runtime = basics.paths.runtime
    waker = Waker(f"{runtime}/{WAKE_SOCKET}", passed(os.environ))
    broker = CourierBroker(f"{runtime}/{SESSION}", waker)
    servers = len(basics.repository.urls)
    return Ends(
        basics=basics,
        broker=broker,
        repository=CourierRepository(f"{runtime}/{FETCHES}", servers),
        rest=CourierRest(
            broker,
            LinuxFiles(runtime),
            _digest(settings, basics.device.profile, basics.paths.root_of_trust),
        ),
    )


def _digest(*paths: str) -> bytes:
    """One hash over these files, as far as they can be read."""
    found = hashlib.sha256()
    for path in paths:
        found.update(hashlib.sha256(_read(path)).digest())
    return found.hexdigest().encode()


def _read(path: str) -> bytes:
    """What is in a file; nothing when it cannot be read, which the whole agent says."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
