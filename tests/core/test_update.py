from dataclasses import replace
from itertools import product

import pytest

from agent.board import SlotName, other
from agent.update import (
    FINISHED,
    TRANSITIONS,
    Event,
    IllegalTransitionError,
    State,
    Update,
    advance,
    resume,
)

TARGET: SlotName = "b"
SLOTS: tuple[SlotName, ...] = ("a", "b")
BEFORE_THE_SWITCH = (State.ACCEPTED, State.PLANNED, State.INSTALLED)
EXPECTED = {
    (State.ACCEPTED, Event.PLAN_MADE): State.PLANNED,
    (State.ACCEPTED, Event.GAVE_UP): State.FAILED,
    (State.PLANNED, Event.IMAGES_INSTALLED): State.INSTALLED,
    (State.PLANNED, Event.GAVE_UP): State.FAILED,
    (State.INSTALLED, Event.TRIAL_STARTING): State.SWITCHED,
    (State.INSTALLED, Event.TRIALS_USED_UP): State.REVERTED,
    (State.INSTALLED, Event.GAVE_UP): State.FAILED,
    (State.SWITCHED, Event.BOOTED_STANDBY): State.TRIAL,
    (State.SWITCHED, Event.BOOTED_PREVIOUS): State.INSTALLED,
    (State.SWITCHED, Event.GAVE_UP): State.FAILED,
    (State.TRIAL, Event.HEALTH_CONFIRMED): State.CONFIRMED,
    (State.TRIAL, Event.HEALTH_FAILED): State.UNHEALTHY,
    (State.TRIAL, Event.BOOTED_PREVIOUS): State.INSTALLED,
    (State.TRIAL, Event.GAVE_UP): State.FAILED,
    (State.UNHEALTHY, Event.BOOTED_PREVIOUS): State.REVERTED,
    (State.UNHEALTHY, Event.GAVE_UP): State.FAILED,
}


def update(state: State) -> Update:
    return Update("u", "r", 0, "2", 2, state, TARGET)


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_every_event_in_every_state_does_what_the_table_says_or_is_a_mistake(
    state: State, event: Event
) -> None:
    following = EXPECTED.get((state, event))
    if following is None:
        with pytest.raises(IllegalTransitionError):
            advance(update(state), event)
    else:
        attempts = 1 if event is Event.TRIAL_STARTING else 0
        assert advance(update(state), event) == replace(
            update(state), state=following, attempts=attempts
        )


def test_the_table_names_every_state_and_ends_in_three() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {State.CONFIRMED, State.REVERTED, State.FAILED} == FINISHED


def test_every_state_can_be_reached_and_every_unfinished_one_can_end() -> None:
    reached, todo = {State.ACCEPTED}, [State.ACCEPTED]
    while todo:
        following = set(TRANSITIONS[todo.pop()].values()) - reached
        reached |= following
        todo.extend(following)
    assert reached == set(State)
    for state in set(State) - FINISHED:
        assert TRANSITIONS[state].get(Event.GAVE_UP) is State.FAILED


def test_nothing_leads_to_a_confirmed_slot_but_a_healthy_trial() -> None:
    ways = [
        (state, event)
        for state, moves in TRANSITIONS.items()
        for event, following in moves.items()
        if following is State.CONFIRMED
    ]
    assert ways == [(State.TRIAL, Event.HEALTH_CONFIRMED)]


def awake(state: State, booted: SlotName, default: SlotName, *, same_boot: bool) -> Event | None:
    return resume(update(state), booted=booted, default=default, same_boot=same_boot)


@pytest.mark.parametrize(
    ("state", "booted", "default", "same_boot"),
    list(product(State, SLOTS, SLOTS, (True, False))),
)
def test_what_the_hardware_says_is_always_an_event_of_that_state(
    state: State, booted: SlotName, default: SlotName, *, same_boot: bool
) -> None:
    event = awake(state, booted, default, same_boot=same_boot)
    assert event is None or event in TRANSITIONS[state]


@pytest.mark.parametrize(
    ("booted", "default", "same_boot"), list(product(SLOTS, SLOTS, (True, False)))
)
@pytest.mark.parametrize("state", State)
def test_waking_settles_after_a_few_events(
    state: State, booted: SlotName, default: SlotName, *, same_boot: bool
) -> None:
    settled = update(state)
    for _ in State:
        event = resume(settled, booted=booted, default=default, same_boot=same_boot)
        if event is None:
            return
        settled = advance(settled, event)
    pytest.fail(f"{state} never settles on {booted}/{default}")


@pytest.mark.parametrize("state", BEFORE_THE_SWITCH)
@pytest.mark.parametrize(("booted", "default"), [("a", "b"), ("b", "a"), ("b", "b")])
def test_a_slot_that_runs_or_starts_by_default_is_given_up_and_not_written(
    state: State, booted: SlotName, default: SlotName
) -> None:
    assert awake(state, booted, default, same_boot=False) is Event.GAVE_UP


@pytest.mark.parametrize(
    ("state", "booted", "default", "same_boot", "event"),
    [
        (State.ACCEPTED, "a", "a", False, None),
        (State.PLANNED, "a", "a", False, None),
        (State.INSTALLED, "a", "a", False, None),
        (State.SWITCHED, "a", "a", True, None),
        (State.SWITCHED, "a", "a", False, Event.BOOTED_PREVIOUS),
        (State.SWITCHED, "b", "a", False, Event.BOOTED_STANDBY),
        (State.SWITCHED, "b", "b", False, Event.BOOTED_STANDBY),
        (State.SWITCHED, "a", "b", False, Event.GAVE_UP),
        (State.TRIAL, "b", "a", False, None),
        (State.TRIAL, "b", "b", False, Event.HEALTH_CONFIRMED),
        (State.TRIAL, "a", "a", False, Event.BOOTED_PREVIOUS),
        (State.TRIAL, "a", "b", False, Event.GAVE_UP),
        (State.UNHEALTHY, "b", "a", False, None),
        (State.UNHEALTHY, "a", "a", False, Event.BOOTED_PREVIOUS),
        (State.UNHEALTHY, "a", "b", False, Event.BOOTED_PREVIOUS),
        (State.UNHEALTHY, "b", "b", False, Event.GAVE_UP),
    ],
)
def test_the_hardware_is_right_and_the_record_is_intent(
    state: State,
    booted: SlotName,
    default: SlotName,
    same_boot: bool,  # noqa: FBT001  # a column of the table
    event: Event | None,
) -> None:
    assert awake(state, booted, default, same_boot=same_boot) is event


@pytest.mark.parametrize("state", sorted(FINISHED))
@pytest.mark.parametrize("booted", SLOTS)
def test_what_has_ended_stays_ended(state: State, booted: SlotName) -> None:
    assert awake(state, booted, other(booted), same_boot=False) is None
    assert update(state).finished
