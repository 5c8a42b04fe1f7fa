"""What a step of an update comes to, and what it needs of whoever takes it."""

from collections.abc import Callable
from dataclasses import dataclass

from agent.health import Verdict
from agent.journal import Journal
from agent.update import Event, Update


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
