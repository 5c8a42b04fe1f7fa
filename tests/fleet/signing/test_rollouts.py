"""Rollouts: phases as people write them, states as they may follow, halts with one key."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.rollout import Audience, Phase, RolloutState, Window, bucket
from fleet.metadata import RoleName
from fleet.phases import parse_devices, parse_phase, parse_window, predict
from fleet.rollout import (
    PhaseWish,
    RolloutRequest,
    Verb,
    change,
    current_halts,
    current_rollouts,
    halt,
    halt_of,
    make_rollout,
    start,
)
from fleet.staging import Stage
from tests.fleet.signing.support import LATER, NOW, Fleet


@pytest.mark.parametrize(
    ("text", "share", "begins"),
    [
        ("5", 500, timedelta()),
        ("0.25%", 25, timedelta()),
        ("25@+24h", 2500, timedelta(hours=24)),
        ("25@+90", 2500, timedelta(minutes=90)),
        ("100%@+45s", 10_000, timedelta(seconds=45)),
        ("100@2026-12-01T00:00:00Z", 10_000, datetime(2026, 12, 1, tzinfo=UTC)),
    ],
)
def test_a_phase_is_read_as_it_is_written(
    text: str, share: int, begins: timedelta | datetime
) -> None:
    assert parse_phase(text) == PhaseWish(share, begins)


@pytest.mark.parametrize(
    "text", ["", "x", "101", "5@", "5@24h", "5@+24y", "-5", "5@2026-12-01", "1.234"]
)
def test_a_phase_that_says_nothing_clear_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--phase"):
        parse_phase(text)


def test_a_window_may_go_over_midnight() -> None:
    assert parse_window("22:30-04:00") == Window(start_minute=1350, length_minutes=330)
    assert parse_window("00:00-00:00") == Window(start_minute=0, length_minutes=1440)
    with pytest.raises(ConfigError, match="HH:MM-HH:MM"):
        parse_window("24:00-01:00")


def test_the_default_phases_go_from_canaries_to_everyone() -> None:
    rollout = make_rollout(RolloutRequest("r", "1"), 1, NOW)

    assert rollout.phases == (
        Phase(500, NOW),
        Phase(2500, NOW + timedelta(hours=24)),
        Phase(10_000, NOW + timedelta(hours=72)),
    )


@pytest.mark.parametrize(
    "phases", [(), ("10", "10"), ("20", "10"), ("10@+2h", "20@+1h"), ("5", "25", "25@+1")]
)
def test_phases_that_do_not_widen_are_refused(phases: tuple[str, ...]) -> None:
    wishes = tuple(parse_phase(text) for text in phases)

    with pytest.raises(ConfigError, match="--phase"):
        make_rollout(RolloutRequest("r", "1", wishes), 1, NOW)


def test_the_plan_is_what_devices_will_do() -> None:
    devices = [f"device-{number}" for number in range(500)]
    rollout = make_rollout(RolloutRequest("r", "1"), 1, NOW)

    first, second, third = predict(rollout, devices)

    assert {*first.devices, *second.devices, *third.devices} == set(devices)
    assert all(bucket("r", device) < 500 for device in first.devices)
    assert all(500 <= bucket("r", device) < 2500 for device in second.devices)
    assert 10 < len(first.devices) < 45


def test_the_plan_leaves_out_who_is_not_in_the_audience() -> None:
    audience = Audience(hardware_ids=(), devices=("b",))
    rollout = make_rollout(
        RolloutRequest("r", "1", (PhaseWish(10_000, timedelta()),), audience), 1, NOW
    )

    assert [plan.devices for plan in predict(rollout, ("a", "b", "c"))] == [("b",)]


def test_a_list_of_devices_is_read_line_by_line() -> None:
    assert parse_devices("a\n\n# spare\nb\na\n", "list") == ("a", "b")
    with pytest.raises(ConfigError, match="device id on each line"):
        parse_devices("a b\n", "list")


def started(fleet: Fleet) -> None:
    fleet.add("1", 7)
    start(fleet.workspace, fleet.keys, RolloutRequest("r", "1"), NOW)


def test_a_rollout_takes_the_counter_of_its_release(fleet: Fleet) -> None:
    started(fleet)

    (rollout,) = current_rollouts(fleet.workspace).rollouts
    assert (rollout.release, rollout.counter, rollout.state) == ("1", 7, RolloutState.ACTIVE)


def test_a_rollout_is_paused_resumed_reissued_and_finished(fleet: Fleet) -> None:
    started(fleet)
    states = []

    for verb in (Verb.PAUSE, Verb.RESUME, Verb.PAUSE, Verb.REISSUE, Verb.FINISH):
        change(fleet.workspace, fleet.keys, "r", verb, LATER)
        (rollout,) = current_rollouts(fleet.workspace).rollouts
        states.append((rollout.state.value, rollout.reissue))

    assert states == [("paused", 0), ("active", 0), ("paused", 0), ("active", 1), ("finished", 1)]
    with pytest.raises(ConfigError, match="finished"):
        change(fleet.workspace, fleet.keys, "r", Verb.REISSUE, LATER)


def test_what_cannot_be_done_to_a_rollout_is_refused(fleet: Fleet) -> None:
    started(fleet)
    with pytest.raises(ConfigError, match="paused was expected, it is active"):
        change(fleet.workspace, fleet.keys, "r", Verb.RESUME, LATER)
    with pytest.raises(ConfigError, match="there are: r"):
        change(fleet.workspace, fleet.keys, "s", Verb.PAUSE, LATER)
    with pytest.raises(ConfigError, match="exists already"):
        start(fleet.workspace, fleet.keys, RolloutRequest("r", "1"), NOW)
    with pytest.raises(ConfigError, match="there are: 1"):
        start(fleet.workspace, fleet.keys, RolloutRequest("s", "2"), NOW)
    with pytest.raises(ConfigError, match="--reason"):
        halt(fleet.workspace, fleet.keys, "r", "", LATER)


def test_a_halt_needs_one_online_key_and_changes_nothing_else(fleet: Fleet, tmp_path: Path) -> None:
    started(fleet)
    stage = Stage(fleet.workspace)
    others = [role for role in RoleName if role not in (RoleName.HALTS, *ONLINE)]
    before = {role: stage.content(role) for role in others}
    for role in others:
        fleet.take_away(role, tmp_path / "away")

    status = halt(fleet.workspace, fleet.keys, "r", "it smokes", LATER)

    assert status.complete
    assert {role: stage.content(role) for role in others} == before
    (found,) = current_halts(fleet.workspace).halts
    assert (found.rollout, found.reissue, found.reason, found.at) == ("r", 0, "it smokes", LATER)


ONLINE = (RoleName.SNAPSHOT, RoleName.TIMESTAMP)


def test_halting_twice_is_halting_once(fleet: Fleet) -> None:
    started(fleet)

    first = halt(fleet.workspace, fleet.keys, "r", "it smokes", NOW)
    second = halt(fleet.workspace, fleet.keys, "r", "it burns", LATER)

    assert first.version == second.version
    assert len(current_halts(fleet.workspace).halts) == 1


def test_a_halt_stops_the_issue_that_devices_have(fleet: Fleet) -> None:
    started(fleet)
    fleet.publish()
    change(fleet.workspace, fleet.keys, "r", Verb.REISSUE, LATER)

    halt(fleet.workspace, fleet.keys, "r", "it smokes", LATER)

    (reissued,) = current_rollouts(fleet.workspace).rollouts
    assert current_halts(fleet.workspace).halts[0].reissue == 0
    assert halt_of(current_halts(fleet.workspace), reissued) is None
