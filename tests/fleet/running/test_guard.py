"""The guard's verdicts, as a table; and the rail that carries one out, with real keys."""

import pytest

from agent.rollout import Audience, Halt, Halts, Rollout, Rollouts, RolloutState
from fleet.guard import HaltWish, verdicts
from fleet.store import FailureCount
from tests.fleet.running.parts import FLEET, NOW

ACTIVE, PAUSED, FINISHED = RolloutState.ACTIVE, RolloutState.PAUSED, RolloutState.FINISHED


def a_rollout(
    name: str = "summer", *, state: RolloutState = ACTIVE, reissue: int = 0, failures_max: int = 2
) -> Rollout:
    return Rollout(
        id=name,
        release="os-7",
        counter=7,
        state=state,
        reissue=reissue,
        failures_max=failures_max,
        audience=Audience((), ()),
        phases=(),
        window=None,
    )


@pytest.mark.parametrize(
    ("rollout", "halted_issue", "failed_devices", "halts"),
    [
        (a_rollout(), None, 0, False),
        (a_rollout(), None, 2, False),
        (a_rollout(), None, 3, True),
        (a_rollout(failures_max=0), None, 1, True),
        (a_rollout(failures_max=0), None, 0, False),
        (a_rollout(state=PAUSED), None, 9, False),
        (a_rollout(state=FINISHED), None, 9, False),
        (a_rollout(), 0, 9, False),
        (a_rollout(reissue=1), None, 9, False),
        (a_rollout("winter"), None, 9, False),
    ],
)
def test_a_rollout_stops_when_more_devices_fail_than_it_allows(
    rollout: Rollout, halted_issue: int | None, failed_devices: int, *, halts: bool
) -> None:
    known = () if halted_issue is None else (Halt("summer", halted_issue, "seen", NOW),)
    failures = [FailureCount("summer", 0, failed_devices)] if failed_devices else []
    wishes = verdicts(Rollouts(FLEET, (rollout,)), Halts(FLEET, known), failures)
    expected = HaltWish("summer", 0, failed_devices, rollout.failures_max)
    assert wishes == ((expected,) if halts else ())


def test_a_reissue_after_a_halt_is_judged_anew() -> None:
    rollouts = Rollouts(FLEET, (a_rollout(reissue=1),))
    halts = Halts(FLEET, (Halt("summer", 0, "seen", NOW),))
    failures = [FailureCount("summer", 0, 9), FailureCount("summer", 1, 3)]
    assert verdicts(rollouts, halts, failures) == (HaltWish("summer", 1, 3, 2),)
