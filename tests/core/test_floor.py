from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import RollbackError, StateError
from agent.floor import (
    BUILT,
    FILE,
    SPARE,
    Floor,
    RoleFloor,
    load,
    now,
    raise_counter,
    raise_roles,
    store,
)
from agent.interfaces import WallTime
from simulator.files import SimulatedFiles
from simulator.power import Moment, Power, PowerCut
from tests.core.samples import FLOOR, NOON

NO_BATTERY = WallTime(datetime(1970, 1, 1, tzinfo=UTC), synchronised=False)
DAY = timedelta(days=1)


def files_with(floor: Floor) -> SimulatedFiles:
    files = SimulatedFiles(Power())
    store(files, floor)
    return files


def timestamp(version: int, *keys: str) -> dict[str, RoleFloor]:
    return {"timestamp": RoleFloor(keys, version)}


@pytest.mark.parametrize("floor", [Floor(), FLOOR])
def test_what_is_stored_is_remembered(floor: Floor) -> None:
    assert load(files_with(floor)) == floor


def test_a_device_without_a_floor_starts_at_the_lowest() -> None:
    assert load(SimulatedFiles(Power())) == Floor()


def test_no_byte_of_a_copy_can_change_unseen_and_the_other_copy_stands_in() -> None:
    files = files_with(FLOOR)
    good = files.content[FILE]
    for position in range(len(good)):
        spoiled = bytearray(good)
        spoiled[position] ^= 0x01
        files.content[FILE] = bytes(spoiled)
        assert load(files) == FLOOR
        files.content[FILE] = good
        files.content[SPARE] = bytes(spoiled)
        assert load(files) == FLOOR
        files.content[SPARE] = good


@pytest.mark.parametrize("lost", [FILE, SPARE])
def test_a_lost_copy_costs_nothing(lost: str) -> None:
    files = files_with(FLOOR)
    files.remove(lost)
    assert load(files) == FLOOR


def test_a_floor_that_is_rotten_twice_is_not_taken_for_the_lowest() -> None:
    files = files_with(FLOOR)
    files.content = {name: content[:-30] for name, content in files.content.items()}
    with pytest.raises(StateError, match=FILE):
        load(files)
    del files.content[FILE]
    with pytest.raises(StateError):
        load(files)


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("number", [1, 2])
def test_a_cut_leaves_the_floor_before_or_after(number: int, moment: Moment) -> None:
    files = files_with(FLOOR)
    higher = raise_counter(FLOOR, 8)
    files.power.cut_at(files.power.number + number, moment)
    with pytest.raises(PowerCut):
        store(files, higher)
    files.power.restore()
    assert load(files) in (FLOOR, higher)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_are_a_floor_or_refused(content: bytes, spare: bytes) -> None:
    try:
        load(SimulatedFiles(Power(), content={FILE: content, SPARE: spare}))
    except StateError:
        return


def test_versions_may_rise_and_stay_but_not_fall() -> None:
    floor = raise_roles(Floor(), timestamp(5, "k"), NOON)
    assert raise_roles(floor, timestamp(5, "k"), NOON) == floor
    assert raise_roles(floor, timestamp(6, "k"), NOON).roles["timestamp"].version == 6
    with pytest.raises(RollbackError, match="timestamp: version 5 or higher"):
        raise_roles(floor, timestamp(4, "k"), NOON)


def test_a_rotation_of_keys_frees_a_version_that_a_thief_raised() -> None:
    floor = raise_roles(Floor(), timestamp(2**31, "stolen"), NOON)
    floor = raise_roles(floor, timestamp(6, "new"), NOON)
    assert floor.roles["timestamp"] == RoleFloor(("new",), 6)
    with pytest.raises(RollbackError):
        raise_roles(floor, timestamp(5, "new"), NOON)


def test_no_rotation_frees_the_version_of_root() -> None:
    floor = raise_roles(Floor(), {"root": RoleFloor(("new",), 3)}, NOON)
    with pytest.raises(RollbackError, match="root: version 3"):
        raise_roles(floor, {"root": RoleFloor(("old",), 2)}, NOON)


def test_the_counter_never_falls() -> None:
    assert raise_counter(FLOOR, 6) == FLOOR
    assert raise_counter(FLOOR, 8).counter == 8


def test_the_date_never_falls_while_its_keys_stay() -> None:
    floor = raise_roles(Floor(), timestamp(1, "k"), NOON)
    assert floor.time == NOON
    assert raise_roles(floor, timestamp(2, "k"), NOON - DAY).time == NOON
    assert raise_roles(floor, timestamp(2, "k"), NOON + DAY).time == NOON + DAY


def test_a_date_that_a_thief_signed_goes_with_his_key() -> None:
    far = datetime(9999, 12, 31, tzinfo=UTC)
    stolen = raise_roles(Floor(), timestamp(1, "stolen"), far)
    assert now(stolen, NO_BATTERY) == far
    assert now(stolen, NO_BATTERY, ("stolen",)) == far
    assert now(stolen, NO_BATTERY, ("new",)) == BUILT
    assert raise_roles(stolen, timestamp(1, "new"), NOON).time == NOON


def test_no_clock_brings_back_a_date_that_is_past() -> None:
    assert now(Floor(), NO_BATTERY) == BUILT
    assert now(FLOOR, NO_BATTERY) == NOON
    late = WallTime(NOON + DAY, synchronised=True)
    assert now(FLOOR, late) == NOON + DAY


def test_a_floor_from_before_a_date_was_bound_binds_it_to_the_first_keys() -> None:
    unbound = replace(Floor(), time=NOON)
    assert now(unbound, NO_BATTERY, ("k",)) == NOON
    assert raise_roles(unbound, timestamp(1, "k"), NOON - DAY).time == NOON
