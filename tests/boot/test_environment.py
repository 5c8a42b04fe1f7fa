"""The redundant environment as bytes, against a reference that was written from U-Boot's rules alone."""

import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.boot.environment import check_first_sector, choose, decode, encode, flags_of, is_valid
from agent.errors import BootControlError
from tests.boot.boards import environment

SIZE = 512


def reference(valid: tuple[bool, bool], flags: tuple[int, int]) -> int | None:
    """Serial arithmetic with its only wrap at 255 to 0, instead of a case for each order."""
    if sum(valid) < 2:
        return valid.index(True) if any(valid) else None
    rank = [256 if value == 0 and flags[1 - place] == 255 else value
            for place, value in enumerate(flags)]  # fmt: skip
    return rank.index(max(rank))


@pytest.mark.parametrize("valid", list(itertools.product([True, False], repeat=2)))
def test_the_copy_that_counts_is_the_one_u_boot_takes(valid: tuple[bool, bool]) -> None:
    data = b"a=1\0\0".ljust(11, b"\0")
    checksums = [(zlib.crc32(data) ^ (0 if good else 1)).to_bytes(4, "little") for good in valid]
    first = [checksums[0] + bytes((flags,)) + data for flags in range(256)]
    second = [checksums[1] + bytes((flags,)) + data for flags in range(256)]
    for one, other in itertools.product(range(256), range(256)):
        assert choose(first[one], second[other]) == reference(valid, (one, other))


@pytest.mark.parametrize("flags", range(256))
def test_the_copy_that_is_written_next_counts_from_then_on(flags: int) -> None:
    active = encode({b"a": b"1"}, flags=flags, size_bytes=64)
    written = encode({b"a": b"2"}, flags=(flags + 1) % 256, size_bytes=64)
    assert choose(active, written) == 1
    assert choose(written, active) == 0


OLD = {"boot_slot": "a", "bootcount": "0", "upgrade_available": "0"}
NEW = {"boot_slot": "b", "bootcount": "0", "upgrade_available": "1"}
STALE = {"boot_slot": "b", "bootcount": "2", "upgrade_available": "1"}


def torn_states(copies: list[bytes], place: int, written: bytes) -> list[list[bytes]]:
    """All that a write of one copy leaves when it is cut at any byte."""
    states = []
    for length in range(len(written) + 1):
        torn = list(copies)
        torn[place] = written[:length] + copies[place][length:]
        states.append(torn)
    return states


def meaning(copies: list[bytes]) -> dict[bytes, bytes] | None:
    active = choose(copies[0], copies[1])
    return None if active is None else decode(copies[active])


def strange(states: list[list[bytes]]) -> int:
    """How many states mean neither what was there before nor what was written."""
    before, after = meaning(states[0]), meaning(states[-1])
    return sum(meaning(state) not in (before, after) for state in states)


@pytest.mark.parametrize(("active", "flags"), [(0, 7), (1, 7), (0, 0), (1, 255)])
def test_a_write_torn_at_any_byte_leaves_the_state_before_or_after(active: int, flags: int) -> None:
    copies = [b"", b""]
    copies[active] = environment(OLD, flags=flags, size_bytes=SIZE)
    copies[1 - active] = environment(STALE, flags=(flags - 1) % 256, size_bytes=SIZE)
    variables = {name.encode(): value.encode() for name, value in NEW.items()}
    written = encode(variables, flags=(flags + 1) % 256, size_bytes=SIZE)
    assert strange(torn_states(copies, 1 - active, written)) == 0


def test_writing_the_copy_that_counts_in_place_would_be_noticed() -> None:
    copies = [
        environment(OLD, flags=7, size_bytes=SIZE),
        environment(STALE, flags=6, size_bytes=SIZE),
    ]
    variables = {name.encode(): value.encode() for name, value in NEW.items()}
    written = encode(variables, flags=8, size_bytes=SIZE)
    assert strange(torn_states(copies, 0, written)) > 0


NAMES = st.binary(min_size=1, max_size=20).filter(
    lambda name: b"\0" not in name and b"=" not in name and name[:1] not in b" \t#"
)
VALUES = st.binary(max_size=40).filter(lambda value: b"\0" not in value)


@given(st.dictionaries(NAMES, VALUES, max_size=10), st.integers(0, 255))
def test_what_is_written_is_read_back(variables: dict[bytes, bytes], flags: int) -> None:
    copy = encode(variables, flags=flags, size_bytes=1024)
    assert len(copy) == 1024
    assert is_valid(copy)
    assert flags_of(copy) == flags
    assert decode(copy) == variables
    text = {name.decode("latin-1"): value.decode("latin-1") for name, value in variables.items()}
    assert copy == environment(text, flags=flags, size_bytes=1024)


@given(st.binary(max_size=300))
def test_any_bytes_with_a_valid_checksum_are_understood_or_refused(data: bytes) -> None:
    copy = zlib.crc32(data).to_bytes(4, "little") + b"\1" + data
    try:
        variables = decode(copy)
    except BootControlError:
        return
    assert all(b"\0" not in name + value for name, value in variables.items())


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_two_copies_are_chosen_from_or_refused(first: bytes, second: bytes) -> None:
    assert choose(first, second) in (None, 0, 1)


@pytest.mark.parametrize(
    "data", [b"a=1", b"a\0\0", b"=1\0\0", b"a=1\0a=2\0\0", b" a=1\0\0", b"#a=1\0\0"]
)
def test_entries_that_u_boot_would_not_write_are_refused(data: bytes) -> None:
    with pytest.raises(BootControlError, match="U-Boot environment"):
        decode(zlib.crc32(data).to_bytes(4, "little") + b"\0" + data)


def test_variables_that_do_not_fit_are_refused() -> None:
    assert encode({b"a": b"x" * (59 - 4)}, flags=0, size_bytes=64)
    with pytest.raises(BootControlError, match="at most 58 bytes"):
        encode({b"a": b"x" * (59 - 3)}, flags=0, size_bytes=64)


def test_the_first_sector_ends_where_the_medium_says() -> None:
    room = 512 - 5 - len(b"a=\0") - len(b"b=0\0")
    check_first_sector({b"a": b"x" * room, b"b": b"0"}, [b"b"])
    with pytest.raises(BootControlError, match="b behind them"):
        check_first_sector({b"a": b"x" * (room + 1), b"b": b"0"}, [b"b"])
