from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.board import parse_profile
from agent.config import parse_config
from agent.errors import ConfigError, NoticeError, ProfileError
from agent.notice import Notice, encode_notice, parse_notice
from agent.report import (
    DETAIL_LENGTH_MAX,
    Presence,
    Receipt,
    clean,
    encode_presence,
    encode_receipt,
    encode_report,
    parse_presence,
    parse_receipt,
    parse_report,
    parse_status,
    report_id,
)
from agent.request import FILE, Request, Verb, leave, take
from simulator.files import SimulatedFiles
from simulator.power import Power
from tests.core.samples import NOON, REPORT

PROFILES = sorted((Path(__file__).parents[2] / "board-profiles").glob("*.toml"))
PROFILE = PROFILES[0].read_bytes()
CONFIG = b"""
schema = 1
[device]
id = "pump-7"
fleet = "water"
profile = "/etc/lockgate/board.toml"
[broker]
host = "broker.example"
authority = "/etc/lockgate/ca.pem"
certificate = "/etc/lockgate/device.pem"
key = "/etc/lockgate/device.key"
[repository]
urls = ["https://mirror.example/fleet"]
authority = "/etc/lockgate/ca.pem"
[paths]
[timing]
[reboot]
command = ["systemctl", "reboot"]
"""
HOSTILE = [
    b"",
    b"\xff\xfe",
    b"\xef\xbb\xbfschema = 1",
    b"schema = 2",
    b"schema = true",
    b"schema = 1.0",
    b"schema = 1\nschema = 1",
    b"schema = " + b"9" * 5000,
    b"schema = 0x" + b"F" * 9000,
    b"schema = " + b"[" * 5000,
    b"schema" + b".a" * 2_000 + b" = 1",
    b"schema = 1\nname = 0x" + b"F" * 9000,
    b"schema = 1979-05-27",
    b"schema = 1\nboot = []",
    b"[[boot]]\n" * 100,
    b"#" * 65_537,
]
MESSAGES: list[Callable[[bytes], object]] = [
    parse_notice,
    parse_receipt,
    parse_report,
    parse_status,
    parse_presence,
]


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_no_profile_and_no_config_is_refused_in_one_sentence(content: bytes) -> None:
    with pytest.raises(ProfileError, match="board"):
        parse_profile(content, "board.toml")
    with pytest.raises(ConfigError, match="agent"):
        parse_config(content, "agent.toml")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_profile_or_refused(content: bytes) -> None:
    with pytest.raises(ProfileError):
        parse_profile(content, "board.toml")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_config_or_refused(content: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_config(content, "agent.toml")


VALUES = [
    "0",
    "-1",
    '""',
    '"x"',
    "true",
    "1.5",
    "[]",
    "{}",
    "1979-05-27",
    "nan",
    "[[1]]",
    '["\\n"]',
]


@settings(max_examples=150)
@given(st.data())
def test_any_value_on_any_line_is_taken_or_refused(data: st.DataObject) -> None:
    for content, parse, kind in (
        (PROFILE, parse_profile, ProfileError),
        (CONFIG, parse_config, ConfigError),
    ):
        lines = content.decode().splitlines()
        places = [number for number, line in enumerate(lines) if " = " in line]
        place = data.draw(st.sampled_from(places))
        lines[place] = lines[place].partition(" = ")[0] + " = " + data.draw(st.sampled_from(VALUES))
        if data.draw(st.booleans()):
            del lines[data.draw(st.sampled_from(places))]
        try:
            parse("\n".join(lines).encode(), "file.toml")
        except kind:
            continue


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_profile_that_is_shipped_is_one(path: Path) -> None:
    assert parse_profile(path.read_bytes(), path.name).parts


def test_a_config_has_safe_settings_unless_it_says_otherwise() -> None:
    config = parse_config(CONFIG, "agent.toml")
    assert (config.timing.refresh_interval_min_s, config.device.factory_counter) == (60, 0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"https://mirror", b"http://mirror"),
        (b'fleet"]', b'fleet/"]'),
        (b'"water"', b'"../water"'),
        (b'"pump-7"', b'"a/b"'),
        (b'command = ["systemctl", "reboot"]', b"command = []"),
        (b"[timing]", b"[timing]\nretry_max_s = 0"),
        (b"[timing]", b"[timing]\nrefresh_interval_min_s = 0"),
        (b"[device]", b'[device]\nfactory_release = "' + b"x" * 129 + b'"'),
        (b"[device]", b'[device]\ntoken = "secret"'),
    ],
)
def test_a_setting_that_is_not_safe_is_refused(old: bytes, new: bytes) -> None:
    assert old in CONFIG
    with pytest.raises(ConfigError):
        parse_config(CONFIG.replace(old, new), "agent.toml")


@pytest.mark.parametrize("parse", MESSAGES)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_message_or_ignored(
    parse: Callable[[bytes], object], content: bytes
) -> None:
    with pytest.raises(NoticeError):
        parse(content)


@pytest.mark.parametrize("parse", MESSAGES)
@pytest.mark.parametrize(
    "content",
    [b"\xff" * 3_000_000, b"[" * 16_000, b'"' + b'\\"' * 8000, b'{"schema":1,"schema":1}', b"null"],
    ids=["large", "deep", "quotes", "twice", "null"],
)
def test_hostile_messages_are_ignored(parse: Callable[[bytes], object], content: bytes) -> None:
    with pytest.raises(NoticeError):
        parse(content)


@given(st.integers(0, 6 * 3600))
def test_a_notice_is_read_as_it_was_written(spread_s: int) -> None:
    assert parse_notice(encode_notice(Notice(spread_s))) == Notice(spread_s)


@pytest.mark.parametrize(
    "content",
    [
        b'{"schema":1,"spread_s":-1}',
        b'{"schema":1,"spread_s":21601}',
        b'{"schema":1,"spread_s":true}',
        b'{"schema":2,"spread_s":0}',
        b'{"schema":1}',
        b'{"schema":1,"spread_s":0,"release":"66"}',
        b'{"schema":1,"spread_s":0' + b" " * 1024 + b"}",
    ],
)
def test_a_notice_that_says_more_or_less_is_none(content: bytes) -> None:
    with pytest.raises(NoticeError):
        parse_notice(content)


def test_messages_are_read_as_they_were_written() -> None:
    assert parse_report(encode_report(REPORT)) == REPORT
    receipt = Receipt((REPORT.id, "x"))
    assert parse_receipt(encode_receipt(receipt)) == receipt
    presence = Presence(online=True, session="ab")
    assert parse_presence(encode_presence(presence)) == presence


@given(st.text(max_size=2000))
def test_any_text_from_the_world_fits_into_a_report(text: str) -> None:
    told = clean(text)
    assert told.isprintable()
    assert len(told) <= DETAIL_LENGTH_MAX
    assert clean(told) == told


def test_an_event_has_one_id_and_another_event_another() -> None:
    assert report_id("f", "d", "u") == report_id("f", "d", "u")
    assert len({report_id("f", "d", "u"), report_id("f", "d", "v"), report_id("f", "e", "u")}) == 3


@pytest.mark.parametrize("verb", list(Verb))
def test_a_request_is_taken_once(verb: Verb) -> None:
    files = SimulatedFiles(Power())
    request = Request(verb, NOON if verb is Verb.DEFER else None)
    leave(files, request)
    assert take(files) == request
    assert take(files) is None


@given(st.binary(max_size=100))
def test_any_bytes_are_a_request_or_refused_and_are_gone_in_both_cases(content: bytes) -> None:
    files = SimulatedFiles(Power(), content={FILE: content})
    with pytest.raises(NoticeError):
        take(files)
    assert not files.content
