from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.policy import Decision, Defer, DeviceFacts, Proceed, Stay, decide, halted
from agent.rollout import (
    BUCKETS,
    Audience,
    Halt,
    Halts,
    Phase,
    Rollout,
    Rollouts,
    RolloutState,
    Window,
    bucket,
)

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
EVERYONE = Audience((), ())
ROLLOUT = Rollout(
    id="spring",
    release="2026.2",
    counter=2,
    state=RolloutState.ACTIVE,
    reissue=0,
    failures_max=3,
    audience=EVERYONE,
    phases=(Phase(BUCKETS, NOON - DAY),),
    window=None,
)
FACTS = DeviceFacts(device="pump-7", hardware_id="rpi4", counter=1, tried=frozenset())
NO_HALTS = Halts("fleet", ())
PLACE = bucket("spring", "pump-7")


def judge(
    *rollouts: Rollout,
    facts: DeviceFacts = FACTS,
    halts: tuple[Halt, ...] = (),
    now: datetime = NOON,
) -> Decision:
    return decide(Rollouts("fleet", rollouts), Halts("fleet", halts), facts, now)


def until(decision: Decision) -> datetime:
    assert isinstance(decision, Defer)
    return decision.until


def test_an_open_rollout_is_taken() -> None:
    decision = judge(ROLLOUT)
    assert isinstance(decision, Proceed)
    assert decision.rollout == ROLLOUT


def test_without_rollouts_the_device_stays_and_says_why() -> None:
    decision = judge()
    assert isinstance(decision, Stay)
    assert decision.reasons[0].sentence == "the fleet has no rollout"


@pytest.mark.parametrize(
    ("rollout", "facts"),
    [
        (replace(ROLLOUT, state=RolloutState.PAUSED), FACTS),
        (replace(ROLLOUT, state=RolloutState.FINISHED), FACTS),
        (replace(ROLLOUT, audience=Audience(("rpi5",), ())), FACTS),
        (replace(ROLLOUT, audience=Audience((), ("pump-8",))), FACTS),
        (replace(ROLLOUT, audience=Audience(("rpi5",), ("pump-7",))), FACTS),
        (replace(ROLLOUT, counter=1), FACTS),
        (ROLLOUT, replace(FACTS, counter=3)),
        (ROLLOUT, replace(FACTS, tried=frozenset({("spring", 0)}))),
        (replace(ROLLOUT, phases=()), FACTS),
        (replace(ROLLOUT, phases=(Phase(0, NOON - DAY),)), FACTS),
        (replace(ROLLOUT, phases=(Phase(PLACE, NOON - DAY),)), FACTS),
    ],
)
def test_what_is_not_for_this_device_is_not_taken_and_gives_a_reason(
    rollout: Rollout, facts: DeviceFacts
) -> None:
    decision = judge(rollout, facts=facts)
    assert isinstance(decision, Stay)
    assert decision.reasons[0].sentence


@pytest.mark.parametrize(
    "rollout",
    [
        replace(ROLLOUT, state=RolloutState.PAUSED),
        replace(ROLLOUT, audience=Audience(("rpi5",), ())),
        replace(ROLLOUT, counter=1),
    ],
)
def test_no_hurry_takes_what_is_not_for_this_device(rollout: Rollout) -> None:
    assert isinstance(judge(rollout, facts=replace(FACTS, hurry=True)), Stay)


def test_an_audience_of_hardware_and_devices_takes_who_is_in_both() -> None:
    both = replace(ROLLOUT, audience=Audience(("rpi4", "rpi5"), ("pump-7",)))
    assert isinstance(judge(both), Proceed)


def test_the_first_place_inside_a_share_is_in_and_the_first_outside_is_not() -> None:
    inside = replace(ROLLOUT, phases=(Phase(PLACE + 1, NOON),))
    assert isinstance(judge(inside), Proceed)
    outside = replace(ROLLOUT, phases=(Phase(PLACE, NOON), Phase(BUCKETS, NOON + DAY)))
    assert until(judge(outside)) == NOON + DAY


def test_the_earliest_phase_that_has_the_device_counts() -> None:
    phases = (Phase(BUCKETS, NOON + 3 * DAY), Phase(BUCKETS, NOON + DAY), Phase(0, NOON))
    assert until(judge(replace(ROLLOUT, phases=phases))) == NOON + DAY


def test_a_phase_begins_at_its_very_second() -> None:
    rollout = replace(ROLLOUT, phases=(Phase(BUCKETS, NOON),))
    assert isinstance(judge(rollout, now=NOON), Proceed)
    assert until(judge(rollout, now=NOON - timedelta(seconds=1))) == NOON


@given(st.text(max_size=20), st.text(max_size=20))
def test_every_device_has_a_place(rollout: str, device: str) -> None:
    assert 0 <= bucket(rollout, device) < BUCKETS


def test_places_are_spread_evenly_and_anew_for_each_rollout() -> None:
    canaries = [{n for n in range(2000) if bucket(name, f"d{n}") < 500} for name in ("one", "two")]
    assert all(60 < len(chosen) < 140 for chosen in canaries)
    assert len(canaries[0] & canaries[1]) < 30


@pytest.mark.parametrize(
    ("window", "clock", "opens"),
    [
        (Window(12 * 60, 60), (12, 0), None),
        (Window(12 * 60, 60), (12, 59), None),
        (Window(12 * 60, 60), (13, 0), (1, 12, 0)),
        (Window(12 * 60, 60), (11, 59), (0, 12, 0)),
        (Window(23 * 60, 120), (23, 30), None),
        (Window(23 * 60, 120), (0, 59), None),
        (Window(23 * 60, 120), (1, 0), (0, 23, 0)),
        (Window(23 * 60, 120), (22, 59), (0, 23, 0)),
        (Window(0, 1), (0, 0), None),
        (Window(0, 1), (0, 1), (1, 0, 0)),
        (Window(1439, 1), (23, 59), None),
        (Window(1439, 1), (0, 0), (0, 23, 59)),
        (Window(700, 1440), (5, 5), None),
        (Window(700, 1439), (11, 39), (0, 11, 40)),
    ],
)
def test_a_window_opens_when_it_says_also_over_midnight(
    window: Window, clock: tuple[int, int], opens: tuple[int, int, int] | None
) -> None:
    now = NOON.replace(hour=clock[0], minute=clock[1])
    decision = judge(replace(ROLLOUT, window=window), now=now)
    if opens is None:
        assert isinstance(decision, Proceed)
        return
    days, hour, minute = opens
    assert until(decision) == now.replace(hour=hour, minute=minute) + days * DAY


@given(
    st.integers(0, 1439),
    st.integers(1, 1440),
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 31)),  # noqa: DTZ001  # given its zone below
)
def test_a_closed_window_is_open_when_the_device_looks_again(
    start: int, length: int, now: datetime
) -> None:
    rollout = replace(
        ROLLOUT,
        window=Window(start, length),
        phases=(Phase(BUCKETS, datetime(1, 1, 1, tzinfo=UTC)),),
    )
    moment = now.replace(tzinfo=UTC)
    decision = judge(rollout, now=moment)
    if isinstance(decision, Defer):
        assert moment < decision.until <= moment + DAY
        assert isinstance(judge(rollout, now=decision.until), Proceed)


def test_someone_at_the_device_may_put_it_off_and_may_ask_not_to_wait() -> None:
    put_off = replace(FACTS, deferred_until=NOON + HOUR)
    assert until(judge(ROLLOUT, facts=put_off)) == NOON + HOUR
    assert isinstance(judge(ROLLOUT, facts=put_off, now=NOON + HOUR), Proceed)
    later = replace(ROLLOUT, phases=(Phase(BUCKETS, NOON + DAY),), window=Window(0, 1))
    assert isinstance(judge(later, facts=replace(put_off, hurry=True)), Proceed)


def test_a_halt_stops_its_issue_and_no_other() -> None:
    halt = Halt("spring", 0, "smoke", NOON)
    assert isinstance(judge(ROLLOUT, halts=(halt,)), Stay)
    assert isinstance(judge(replace(ROLLOUT, reissue=1), halts=(halt,)), Proceed)
    assert isinstance(judge(replace(ROLLOUT, id="summer"), halts=(halt,)), Proceed)
    hurried = replace(FACTS, hurry=True)
    assert isinstance(judge(ROLLOUT, halts=(halt,), facts=hurried), Stay)
    assert not halted("spring", 0, NO_HALTS)


def test_a_reissue_is_tried_again_after_the_first_issue_ended_here() -> None:
    tried = replace(FACTS, tried=frozenset({("spring", 0)}))
    assert isinstance(judge(replace(ROLLOUT, reissue=1), facts=tried), Proceed)


def test_of_several_that_are_open_the_highest_counter_counts_in_any_order() -> None:
    older, newer = ROLLOUT, replace(ROLLOUT, id="summer", counter=3)
    for pair in ((older, newer), (newer, older)):
        decision = judge(*pair)
        assert isinstance(decision, Proceed)
        assert decision.rollout == newer
        assert {reason.rollout for reason in decision.reasons} == {"spring", "summer"}


def test_the_later_of_two_with_one_counter_counts() -> None:
    decision = judge(ROLLOUT, replace(ROLLOUT, id="again"))
    assert isinstance(decision, Proceed)
    assert decision.rollout.id == "again"


def test_one_that_is_open_goes_before_one_that_is_not_yet() -> None:
    later = replace(ROLLOUT, id="summer", counter=9, phases=(Phase(BUCKETS, NOON + DAY),))
    decision = judge(ROLLOUT, later)
    assert isinstance(decision, Proceed)
    assert decision.rollout == ROLLOUT


def test_the_device_looks_again_for_the_one_that_opens_first() -> None:
    soon = replace(ROLLOUT, id="soon", phases=(Phase(BUCKETS, NOON + HOUR),))
    late = replace(ROLLOUT, id="late", counter=9, phases=(Phase(BUCKETS, NOON + DAY),))
    decision = judge(late, soon)
    assert isinstance(decision, Defer)
    assert (decision.rollout.id, decision.until) == ("soon", NOON + HOUR)
