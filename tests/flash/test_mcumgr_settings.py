"""A table with `protocol = "mcumgr"`: what it may say, and that it leads to an update."""

import base64
from collections.abc import Mapping

import pytest

from agent.errors import ProfileError
from agent.flash.mcumgr import McumgrFlasher, McumgrSettings, Way
from agent.flash.mcumgr_settings import parse_mcumgr
from agent.flash.select import make_flasher, parse_chip
from agent.flash.session import flash_chip, no_progress
from agent.strict import Fields, Refusal
from tests.flash.mcumgr_bench import Bench, images


def _line() -> str:
    return base64.b64encode(images().key.content).decode()


def _parse(table: Mapping[str, object]) -> McumgrSettings:
    return parse_mcumgr(Fields(table, Refusal(ProfileError, "board.toml")))


def test_the_shortest_table_updates_a_chip() -> None:
    settings = _parse({"way": "application", "keys": [_line()]})
    assert settings.way is Way.APPLICATION
    bench = Bench()
    bench.power_on()
    bench.flasher = McumgrFlasher(bench.line, settings)
    bench.update()
    assert bench.chip.running_version == "1.1.0"


def test_a_session_updates_a_chip_on_trial_and_a_later_flasher_confirms_it() -> None:
    table = {
        "protocol": "mcumgr",
        "port": "/dev/ttyACM0",
        "image_format": "raw",
        "way": "application",
        "keys": [_line()],
        "entry": {"by": "none"},
    }
    settings = parse_chip(Fields(table, Refusal(ProfileError, "board.toml")))
    bench = Bench()
    bench.power_on()
    assert flash_chip(settings, bench.line, bench.new).attempts == 1
    assert bench.chip.running_version == "1.1.0"
    later = make_flasher(settings, bench.line)
    assert isinstance(later, McumgrFlasher)
    later.identify()
    assert not later.plan(bench.new, no_progress).writes
    later.confirm()
    bench.power_on()
    assert bench.chip.running_version == "1.1.0"


@pytest.mark.parametrize(
    "change",
    [
        {"way": "dfu"},
        {"keys": []},
        {"keys": ["AAAA"]},
        {"keys": ["not base64"]},
        {"buffer_bytes": 64},
        {"requests_under_way": 0},
        {"requests_under_way": 9},
        {"image": -1},
        {"security_counter_min": 1 << 32},
        {"answers_after_start": False},
    ],
)
def test_refuses_tables_that_could_not_work(change: Mapping[str, object]) -> None:
    with pytest.raises(ProfileError, match=next(iter(change))):
        _parse({"way": "application", "keys": [_line()], **change})
