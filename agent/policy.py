"""The decision: does this device take a release now, later, or not? Pure.

The operator's tools call the same function to predict who updates when, and `lockgate explain` prints
the reasons. The last arm of every question is the safe one: stay.
"""

from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import Final

from agent.rollout import BUCKETS, Halts, Rollout, Rollouts, RolloutState, Window, bucket
from agent.strict import format_time

MINUTES_A_DAY: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What the decision must know of the device.

    `counter` is the highest release counter that this device has confirmed. `tried` are the issues of
    rollouts that ended here. `hurry` means that someone at the device asked not to wait.
    """

    device: str
    hardware_id: str
    counter: int
    tried: frozenset[tuple[str, int]]
    deferred_until: datetime | None = None
    hurry: bool = False


@dataclass(frozen=True, slots=True)
class Reason:
    """One sentence about one rollout."""

    rollout: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Proceed:
    """Take this release now."""

    rollout: Rollout
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Defer:
    """Take it later: look again at this date, not before."""

    rollout: Rollout
    until: datetime
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Stay:
    """There is nothing for this device."""

    reasons: tuple[Reason, ...]


Decision = Proceed | Defer | Stay


@dataclass(frozen=True, slots=True)
class _Verdict:
    """On one rollout: `when` is None for never."""

    rollout: Rollout
    when: datetime | None
    sentence: str


def decide(rollouts: Rollouts, halts: Halts, facts: DeviceFacts, now: datetime) -> Decision:
    """What this device does about the fleet's rollouts at this date.

    Of several that are open, the one with the highest release counter counts.
    """
    verdicts = [_judge(rollout, halts, facts, now) for rollout in reversed(rollouts.rollouts)]
    reasons = tuple(Reason(verdict.rollout.id, verdict.sentence) for verdict in verdicts)
    ready = [one for one in verdicts if one.when is not None and one.when <= now]
    if ready:
        best = max(ready, key=lambda verdict: verdict.rollout.counter)
        return Proceed(best.rollout, reasons)
    later = [(one.when, position) for position, one in enumerate(verdicts) if one.when is not None]
    if later:
        when, position = min(later)
        return Defer(verdicts[position].rollout, when, reasons)
    return Stay(reasons or (Reason("", "the fleet has no rollout"),))


def halted(rollout: str, reissue: int, halts: Halts) -> bool:
    """Whether this issue of a rollout must stop."""
    return any(halt.rollout == rollout and halt.reissue == reissue for halt in halts.halts)


def _judge(rollout: Rollout, halts: Halts, facts: DeviceFacts, now: datetime) -> _Verdict:
    never = _never(rollout, halts, facts)
    if never is not None:
        return _Verdict(rollout, None, never)
    place = bucket(rollout.id, facts.device)
    starts = [phase.not_before for phase in rollout.phases if place < phase.share]
    if facts.hurry:
        return _Verdict(rollout, now, "someone at the device asked not to wait")
    if not starts:
        return _Verdict(rollout, None, f"place {place} of {BUCKETS} is in none of its phases")
    start = min(starts)
    if start > now:
        return _Verdict(rollout, start, f"place {place} of {BUCKETS} begins {format_time(start)}")
    if facts.deferred_until is not None and facts.deferred_until > now:
        until = facts.deferred_until
        return _Verdict(rollout, until, f"deferred at the device until {format_time(until)}")
    opens = _opens(rollout.window, now)
    if opens > now:
        return _Verdict(rollout, opens, f"its window opens {format_time(opens)}")
    return _Verdict(rollout, now, f"place {place} of {BUCKETS} is in a phase that has begun")


def _never(rollout: Rollout, halts: Halts, facts: DeviceFacts) -> str | None:
    """Why this device will not take it as things are signed now, or None."""
    audience = rollout.audience
    if audience.hardware_ids and facts.hardware_id not in audience.hardware_ids:
        return f"it is for other hardware than {facts.hardware_id}"
    if audience.devices and facts.device not in audience.devices:
        return "this device is not in its audience"
    if halted(rollout.id, rollout.reissue, halts):
        return "it was halted"
    if (rollout.id, rollout.reissue) in facts.tried:
        return "it has ended on this device; only a re-issue is tried again"
    if rollout.counter <= facts.counter:
        return (
            f"release counter {rollout.counter} is not above {facts.counter}, "
            "which this device has had"
        )
    match rollout.state:
        case RolloutState.ACTIVE:
            return None
        case RolloutState.PAUSED:
            return "it is paused"
        case RolloutState.FINISHED:
            return "it is finished"


def _opens(window: Window | None, now: datetime) -> datetime:
    """When the window is open next: now, if it is open."""
    if window is None:
        return now
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    minute = (now - midnight) // timedelta(minutes=1)
    if (minute - window.start_minute) % MINUTES_A_DAY < window.length_minutes:
        return now
    start = midnight + timedelta(minutes=window.start_minute)
    if start > now:
        return start
    return start + timedelta(days=1) if start.year < MAXYEAR else now  # there is no later date
