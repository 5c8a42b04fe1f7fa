"""What a step of an update comes to, and what it needs of whoever takes it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.health import Verdict
from agent.interfaces import World
from agent.journal import Journal
from agent.update import Event, Update

TEND_S: Final = 5.0
TEND_WITHOUT_BROKER_S: Final = 120.0
"""How often the link is kept up while a chip is flashed: bootloaders do not wait for a broker."""


@dataclass(frozen=True, slots=True)
class Move:
    """Something happened to the update, which may carry more than before."""

    update: Update
    event: Event


@dataclass(frozen=True, slots=True)
class Reboot:
    """The next step is a reboot with this argument."""

    argument: str


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the steps need of whoever runs them.

    `tend` keeps the link for so many seconds and says whether there is a session; `asked` is the
    verdict of someone at the device on a trial; `changed` is told of each new journal, `told` what is
    done at this moment.
    """

    tend: Callable[[float], bool]
    asked: Callable[[], Verdict | None]
    changed: Callable[[Journal], None]
    told: Callable[[str], None] = lambda _: None


class Narrator:
    """Says what is done while a chip is busy; a broker that is away must not keep it waiting often."""

    def __init__(self, world: World, hooks: Hooks) -> None:
        self._world = world
        self._hooks = hooks
        self._next_tend_s = 0.0

    def say(self, told: str) -> None:
        """Tell the service manager, whoever looks at the status, and now and then the broker."""
        self._world.system.progress(told)
        self._hooks.told(told)
        now_s = self._world.clock.monotonic_s()
        if now_s >= self._next_tend_s:
            connected = self._hooks.tend(0.0)
            self._next_tend_s = now_s + (TEND_S if connected else TEND_WITHOUT_BROKER_S)
