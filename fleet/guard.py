"""When a rollout must stop by itself: more devices failed than the people who approved it allowed. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from agent.rollout import Halts, Rollouts, RolloutState
from fleet.store import FailureCount


@dataclass(frozen=True, slots=True)
class HaltWish:
    """One issue of a rollout that must be halted, and why."""

    rollout: str
    reissue: int
    devices: int
    failures_max: int

    @property
    def reason(self) -> str:
        """The sentence that stands in the signed halt."""
        return (
            f"{self.devices} devices failed or reverted, at most {self.failures_max} were allowed"
        )


def verdicts(
    rollouts: Rollouts, halts: Halts, failures: Iterable[FailureCount]
) -> tuple[HaltWish, ...]:
    """The active rollouts, not halted yet, with more failed devices than `failures_max`.

    Only failures of the present issue count: a re-issue after a repair starts from nothing.
    """
    failed = {(count.rollout, count.reissue): count.devices for count in failures}
    halted = {(halt.rollout, halt.reissue) for halt in halts.halts}
    wishes = (
        HaltWish(
            rollout=rollout.id,
            reissue=rollout.reissue,
            devices=failed.get((rollout.id, rollout.reissue), 0),
            failures_max=rollout.failures_max,
        )
        for rollout in rollouts.rollouts
        if rollout.state is RolloutState.ACTIVE and (rollout.id, rollout.reissue) not in halted
    )
    return tuple(wish for wish in wishes if wish.devices > wish.failures_max)
