"""May this trial be confirmed? Asks the board profile's checks until all pass or the time is up."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.board import ConfirmSettings
from agent.interfaces import Clock, System
from agent.report import clean

PAUSE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Healthy or not, and the sentence for the report."""

    healthy: bool
    detail: str


def examine(
    settings: ConfirmSettings,
    system: System,
    clock: Clock,
    tend: Callable[[float], bool],
    asked: Callable[[], Verdict | None],
) -> Verdict:
    """The verdict on the system that runs, within `settings.within_s`.

    A check that failed is asked again until then, because services take time to start. `tend` keeps
    the link to the broker for so many seconds and says whether there is a session; `asked` is the
    verdict of someone at the device, if there is one.
    """
    deadline_s = clock.monotonic_s() + settings.within_s
    complaint = "no check has run"
    while clock.monotonic_s() < deadline_s:
        complaint = _complaint(settings, system, clock, deadline_s)
        connected = tend(0.0)
        verdict = asked()
        if verdict is not None:
            return verdict
        if not complaint and (connected or not settings.require_broker):
            return Verdict(healthy=True, detail="all health checks passed")
        if not complaint:
            complaint = "no session with the broker"
        system.progress(f"trial: {complaint}")
        tend(min(PAUSE_S, max(0.0, deadline_s - clock.monotonic_s())))
    return Verdict(healthy=False, detail=f"not healthy within {settings.within_s} s: {complaint}")


def _complaint(settings: ConfirmSettings, system: System, clock: Clock, deadline_s: float) -> str:
    for check in settings.checks:
        left_s = max(1.0, deadline_s - clock.monotonic_s())
        result = system.run_check(check.command, min(check.timeout_s, left_s))
        if not result.passed:
            return clean(f"check {check.name} failed: {result.detail}")
    return ""
