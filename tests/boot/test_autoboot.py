"""The text of autoboot.txt: taken as the firmware takes it, replaced at the same length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.boot.autoboot import Autoboot, parse_autoboot, render_autoboot
from agent.errors import BootControlError
from tests.boot.boards import AUTOBOOT, raspberry_pi


@pytest.mark.parametrize(
    "content",
    [
        AUTOBOOT,
        AUTOBOOT.rstrip(),
        AUTOBOOT.replace(b"\n", b"\r\n"),
        b"# ours\n\n[all]\nboot_partition=2\n\ntryboot_a_b=1\n# next\n[tryboot]\nboot_partition=3\n\n",
        b"tryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3",
    ],
)
def test_comments_blank_lines_and_order_do_not_matter(content: bytes) -> None:
    assert parse_autoboot(content) == Autoboot(default=2, trial=3)


def test_the_last_line_wins_as_in_the_firmware() -> None:
    content = b"[tryboot]\nboot_partition=3\n[all]\ntryboot_a_b=1\nboot_partition=2\n"
    assert parse_autoboot(content) == Autoboot(default=2, trial=2)
    board = raspberry_pi(content)
    control = board.reboot()
    assert board.reboot("0 tryboot").booted() == "a"
    assert board.reboot(control.try_next("b", 1)).booted() == "b"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "tryboot_a_b=1 was expected"),
        (b"[all]\nboot_partition=2\n", "tryboot_a_b=1 was expected"),
        (AUTOBOOT.replace(b"a_b=1", b"a_b=0"), "tryboot_a_b=1 was expected"),
        (AUTOBOOT.replace(b"=2", b"=two"), "number from 1 to 99"),
        (AUTOBOOT.replace(b"=2", b"=0"), "number from 1 to 99"),
        (AUTOBOOT.replace(b"boot_partition=2\n", b""), "number from 1 to 99"),
        (AUTOBOOT + b"[none]\n", "or a comment was expected"),
        (AUTOBOOT + b"kernel=old.img\n", "or a comment was expected"),
        (AUTOBOOT + b"\xff\n", "plain ASCII"),
        (AUTOBOOT.ljust(513, b"\n"), "at most 512 bytes"),
    ],
)
def test_what_would_be_lost_or_is_not_understood_is_refused(content: bytes, complaint: str) -> None:
    with pytest.raises(BootControlError, match=complaint):
        parse_autoboot(content)


def test_a_file_that_is_too_short_is_refused_before_anything_is_written() -> None:
    short = b"tryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3"
    board = raspberry_pi(short)
    control = board.reboot(board.reboot().try_next("b", 1))
    with pytest.raises(BootControlError, match="a file of at least 63 bytes"):
        control.confirm("b")
    assert board.reboot().booted() == "a"


@given(default=st.integers(1, 63), trial=st.integers(1, 63), length_bytes=st.integers(65, 512))
def test_what_is_written_has_the_given_length_and_is_read_back(
    default: int, trial: int, length_bytes: int
) -> None:
    autoboot = Autoboot(default=default, trial=trial)
    content = render_autoboot(autoboot, length_bytes)
    assert len(content) == length_bytes
    assert parse_autoboot(content) == autoboot


LINES = st.sampled_from(
    [b"[all]", b"[tryboot]", b"tryboot_a_b=1", b"boot_partition=2", b"boot_partition=3", b"#", b""]
)


@given(st.one_of(st.binary(max_size=600), st.lists(LINES, max_size=12).map(b"\n".join)))
def test_any_bytes_are_understood_or_refused(content: bytes) -> None:
    try:
        autoboot = parse_autoboot(content)
    except BootControlError:
        return
    assert min(autoboot.default, autoboot.trial) >= 1


@given(st.lists(LINES, min_size=1, max_size=12).map(b"\n".join))
def test_the_agent_and_the_firmware_read_the_same(content: bytes) -> None:
    try:
        autoboot = parse_autoboot(content)
    except BootControlError:
        return
    board = raspberry_pi(content)
    board.reboot()
    assert board.choice.boot_partition == autoboot.default
    board.reboot("0 tryboot")
    assert board.choice.boot_partition == autoboot.trial
