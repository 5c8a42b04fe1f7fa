"""Every safety rule is taken out one at a time, and each loss is noticed by the invariant that names it."""

import pytest

from agent.pieces import Pieces
from simulator.explore.scenario import Scale, Scenario, make_stage
from simulator.explore.search import Search
from simulator.profiles import load_profile
from tests.seeded_bugs.boots import DEVICES, TRYBOOT, UBOOT
from tests.seeded_bugs.installations import FLUSH_BYTES, INSTALLATIONS
from tests.seeded_bugs.runners import RUNNERS

SMALL = Scale(sectors=12, window_bytes=1024, flush_bytes=FLUSH_BYTES)
STATES_MAX = 700
BAD = frozenset(
    (
        "confirms before the checks",
        "stays in an unhealthy trial",
        "reverts before it has left",
        "tries again by itself",
        "tries what was tried",
        "writes the environment in two steps",
    )
)
"""What matters only when the release does not pass its checks."""
DEAD = frozenset(
    (
        "has no limit of trials",
        "makes the trial the default",
        "grants many boots to an attempt",
    )
)
"""What matters only when the release never boots."""


def found(bug: str, pieces: Pieces, board: str) -> list[str]:
    """The invariants that are broken in the first run that breaks any."""
    scenario = Scenario.FAILS_CHECKS if bug in BAD else Scenario.HEALTHY
    scenario = Scenario.NEVER_BOOTS if bug in DEAD else scenario
    stage = make_stage(load_profile(board), scenario, scale=SMALL, pieces=pieces)
    result = Search(stage).run(states_max=STATES_MAX, stop_when_broken=True)
    return [broken.violation.invariant for broken in result.broken]


@pytest.mark.parametrize("bug", INSTALLATIONS)
def test_a_careless_installation_is_noticed(bug: str) -> None:
    pieces, invariant = INSTALLATIONS[bug]
    assert invariant in found(bug, pieces, "uboot-bootcount")


@pytest.mark.parametrize("bug", RUNNERS)
def test_a_careless_runner_is_noticed(bug: str) -> None:
    pieces, invariant = RUNNERS[bug]
    assert invariant in found(bug, pieces, "uboot-bootcount")


@pytest.mark.parametrize("bug", UBOOT)
def test_a_careless_control_of_uboot_is_noticed(bug: str) -> None:
    pieces, invariant = UBOOT[bug]
    assert invariant in found(bug, pieces, "uboot-bootcount")


@pytest.mark.parametrize("bug", TRYBOOT)
def test_a_careless_control_of_tryboot_is_noticed(bug: str) -> None:
    pieces, invariant = TRYBOOT[bug]
    assert invariant in found(bug, pieces, "rpi4-tryboot")


@pytest.mark.parametrize("bug", DEVICES)
def test_a_careless_device_is_noticed(bug: str) -> None:
    pieces, invariant = DEVICES[bug]
    assert invariant in found(bug, pieces, "uboot-bootcount")


def test_at_least_25_rules_are_taken_out() -> None:
    bugs = [*INSTALLATIONS, *RUNNERS, *UBOOT, *TRYBOOT, *DEVICES]
    assert len(bugs) == len(set(bugs)) >= 25
