"""A device that cannot begin says so: a boot state that cannot be read, a disk that takes nothing.

The agent ends with its error then, and the service manager starts it again. Before it ends it connects, if
the broker can be reached, and shows a status in the phase `waiting` with the error's code and sentence, or
the fleet would hear nothing but silence.
"""

from collections.abc import Callable
from typing import Final

from agent.account import VERSION
from agent.config import Config
from agent.errors import UpdateError
from agent.floor import BUILT
from agent.interfaces import World
from agent.link import Link
from agent.report import Status, clean
from agent.topics import Topics

PHASE: Final = "waiting"
SAID_FOR_S: Final = 20.0
"""How long the session is kept: time to connect, and a pause before the next start."""
TURNS_MAX: Final = 200
"""Messages that wake us more often than this end it early."""


def say_stuck(world: World, config: Config, error: UpdateError, stop: Callable[[], bool]) -> None:
    """Tell the fleet why nothing begins, if anyone can be told; returns after `SAID_FOR_S`, or at `stop`."""
    clock = world.clock
    topics = Topics(config.device.fleet, config.device.id)
    link = Link(world.broker, clock, world.random, topics, config.timing.retry_max_s)
    link.show(status_when_stuck(world, config, error))
    until_s = clock.monotonic_s() + SAID_FOR_S
    for _ in range(TURNS_MAX):
        left_s = until_s - clock.monotonic_s()
        if left_s <= 0 or stop():
            break
        world.system.progress(f"{PHASE} {error.code}: {error}")
        link.tend(left_s, ())
    link.close()


def status_when_stuck(world: World, config: Config, error: UpdateError) -> Status:
    """What is known without a boot state and without a journal: who it is, and what is wrong."""
    return Status(
        device=config.device.id,
        fleet=config.device.fleet,
        at=max(world.clock.wall().utc, BUILT),
        boot_id=world.system.facts().boot_id,
        slot="",
        release="",
        counter=0,
        phase=PHASE,
        update="",
        target="",
        done_bytes=0,
        total_bytes=0,
        detail=clean(f"{error.code}: {error}"),
        reports_waiting=0,
        agent=VERSION,
    )
