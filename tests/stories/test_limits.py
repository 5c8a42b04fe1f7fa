"""The owner's limits: what is held up says why, goes on by itself, and fetches nothing twice."""

from dataclasses import dataclass, field, replace

import pytest

from agent import budget
from agent.board import BoardProfile
from agent.interfaces import Conditions
from agent.limits import LimitSettings, Metered, OnMetered
from agent.report import Outcome
from agent.request import Request, Verb, leave
from simulator.lab import Lab, make_lab
from simulator.profiles import load_profile

DAY_S = 86400.0
MB = 1_000_000
SECTORS = 3700
"""Of each of the two parts: their payloads together are just under 3 MB, and with metadata too."""
WINDOW_BYTES = 64 * 1024
RPI = load_profile("rpi4-tryboot")


@dataclass(slots=True)
class Weather:
    """What surrounds the board, as the story has it now."""

    now: Conditions = field(default_factory=Conditions)

    def __call__(self) -> Conditions:
        return self.now


def limited(settings: LimitSettings, profile: BoardProfile = RPI) -> tuple[Lab, Weather]:
    lab = make_lab(
        profile,
        seed=7,
        sectors=SECTORS,
        part_bytes=SECTORS * 512,
        window_bytes=WINDOW_BYTES,
    )
    weather = Weather()
    lab.device.config = replace(lab.device.config, limits=settings)
    lab.device.weather = weather
    return lab, weather


def fetched(lab: Lab) -> int:
    return lab.repository.sent_bytes("blobs/*")


def offered(lab: Lab) -> int:
    """The length of all payloads that were released."""
    blobs = [one for path, one in lab.operator.content.items() if path.startswith("blobs/")]
    return sum(len(blob) for blob in blobs)


def held(lab: Lab) -> str:
    journal = lab.device.journal
    assert journal is not None
    assert journal.update is not None
    return journal.update.held


def codes(lab: Lab) -> list[str]:
    return [report.code for report in lab.operator.reports.values()]


def test_a_megabyte_a_day_finishes_three_in_three_days_and_fetches_nothing_twice() -> None:
    lab, _ = limited(LimitSettings(day_bytes_max=MB))
    lab.ship()
    total = offered(lab)
    assert 2.8 * MB < total < 3 * MB
    days = []
    for _ in range(6):
        before = lab.repository.sent_bytes()
        rest_of_day = DAY_S - lab.clock.true_time().timestamp() % DAY_S
        lab.device.run(lab.clock.now_s + rest_of_day)
        days.append(lab.repository.sent_bytes() - before)
        if Outcome.CONFIRMED in lab.operator.outcomes():
            break
    assert lab.operator.outcomes().count(Outcome.CONFIRMED) == 1
    assert max(days) <= MB
    assert fetched(lab) == total + len(
        RPI.parts
    )  # the last byte of each shows first that it is whole
    assert len(days) == 3
    assert codes(lab) == ["limit-budget", "ok"]
    assert not [name for name in lab.device.board.files.content if name.startswith("kept/")]


def test_power_cuts_cost_windows_and_never_the_count() -> None:
    lab, _ = limited(LimitSettings(day_bytes_max=MB))
    lab.ship()
    total = offered(lab)
    for _ in range(40):
        before = lab.repository.sent_bytes()
        spent = budget.load(lab.device.board.files)
        assert spent is not None
        lab.device.run(lab.clock.now_s + 4 * 3600)
        lab.device.lose_power()
        now = budget.load(lab.device.board.files)
        assert now is not None
        if now.day == spent.day:
            sent = lab.repository.sent_bytes() - before
            assert now.day_bytes - spent.day_bytes >= sent - budget.GRANT_BYTES
        assert now.day_bytes <= MB + 300_000  # metadata is counted and never held up
        if Outcome.CONFIRMED in lab.operator.outcomes():
            break
    assert Outcome.CONFIRMED in lab.operator.outcomes()
    assert fetched(lab) < 1.5 * total


def test_an_update_that_needs_more_than_its_budget_is_refused_and_says_so() -> None:
    lab, _ = limited(LimitSettings(update_bytes_max=MB))
    lab.ship()
    lab.device.run_until_quiet()
    (report,) = lab.operator.reports.values()
    assert (report.outcome, report.code) == (Outcome.FAILED, "refused-budget")
    assert "limits.update_bytes_max" in report.detail
    assert fetched(lab) <= MB
    assert lab.holds("a", 1)


def test_a_rate_is_kept_and_the_device_stays_alive() -> None:
    lab, _ = limited(LimitSettings(rate_bytes_per_s=10_000))
    lab.device.run(lab.clock.now_s + 600)
    start = lab.clock.now_s
    seen = []
    for second in range(30, 301, 30):
        lab.clock.at(start + second, lambda: seen.append((lab.clock.now_s - start, fetched(lab))))
    lab.ship()
    lab.device.run_until_quiet()
    assert lab.operator.outcomes() == [Outcome.CONFIRMED]
    for elapsed_s, bytes_so_far in seen:
        assert bytes_so_far <= elapsed_s * 10_000
    assert seen[-1][1] > 0.6 * 300 * 10_000
    assert lab.clock.now_s - start > offered(lab) / 10_000


METERED = Conditions(metered=True)
FREE = Conditions(metered=False)


def over_metered(on_metered: OnMetered) -> tuple[Lab, Weather]:
    lab, weather = limited(LimitSettings(metered=Metered.ASK_SYSTEM, on_metered=on_metered))
    weather.now = METERED
    return lab, weather


def test_on_a_metered_link_an_update_waits_for_another_one() -> None:
    lab, weather = over_metered(OnMetered.DEFER)
    lab.ship()
    lab.device.run(lab.clock.now_s + DAY_S)
    assert fetched(lab) == 0
    assert held(lab).startswith("limit-metered: the link is metered")
    assert codes(lab) == ["limit-metered"]
    weather.now = FREE
    lab.device.run_until_quiet()
    assert codes(lab) == ["limit-metered", "ok"]


def test_a_link_of_which_nobody_knows_anything_counts_as_metered() -> None:
    lab, weather = over_metered(OnMetered.DEFER)
    weather.now = Conditions()
    lab.ship()
    lab.device.run(lab.clock.now_s + 3600)
    assert "nobody says whether" in held(lab)


def test_a_link_that_becomes_metered_stops_the_fetching_within_a_minute() -> None:
    lab, weather = over_metered(OnMetered.DEFER)
    weather.now = FREE
    lab.repository.bytes_per_s = 10_000.0

    def change() -> None:
        weather.now = METERED

    lab.device.run(lab.clock.now_s + 600)
    lab.ship()
    lab.clock.after(60.0, change)
    lab.device.run(lab.clock.now_s + 3600)
    assert 0 < fetched(lab) < 1.3 * MB
    weather.now = FREE
    lab.device.run_until_quiet()
    assert fetched(lab) <= offered(lab) + 2 * WINDOW_BYTES
    assert codes(lab) == ["limit-metered", "ok"]


def test_only_security_releases_are_fetched_over_a_metered_link() -> None:
    lab, _ = over_metered(OnMetered.SECURITY)
    lab.ship()
    lab.device.run(lab.clock.now_s + DAY_S)
    assert held(lab).endswith("only security releases are fetched then, and this is none")
    assert fetched(lab) == 0
    lab.ship(number=3, kind="security")
    lab.device.run(lab.clock.now_s + DAY_S)
    lab.device.run_until_quiet()
    assert codes(lab)[-1] == "ok"
    assert lab.holds("b", 3)


def test_someone_at_the_device_may_say_yes() -> None:
    lab, _ = over_metered(OnMetered.ASK)
    lab.ship()
    lab.device.run(lab.clock.now_s + 3600)
    assert "`lockgate install` says yes" in held(lab)
    leave(lab.device.board.files, Request(Verb.INSTALL))
    lab.device.run_until_quiet()
    assert codes(lab) == ["limit-metered", "ok"]


def test_it_does_not_begin_without_memory() -> None:
    lab, weather = limited(LimitSettings(memory_min_mib=100))
    weather.now = Conditions(memory_available_bytes=99 * 1024 * 1024)
    lab.ship()
    lab.device.run(lab.clock.now_s + 3600)
    assert held(lab).startswith("limit-memory: 100 MiB of available memory were expected, 99 found")
    weather.now = Conditions(memory_available_bytes=100 * 1024 * 1024)
    lab.device.run_until_quiet()
    assert codes(lab) == ["limit-memory", "ok"]


def test_it_pauses_while_it_is_hot_and_goes_on_when_it_is_cooler() -> None:
    lab, weather = limited(LimitSettings(temperature_max_celsius=70, low_priority=True))
    lab.repository.bytes_per_s = 10_000.0
    lab.device.run(lab.clock.now_s + 600)
    lab.ship()

    def heat(celsius: float) -> None:
        weather.now = Conditions(temperature_celsius=celsius)

    lab.clock.after(30.0, lambda: heat(71.0))
    lab.clock.after(2000.0, lambda: heat(67.0))  # not cool enough to go on
    lab.device.run(lab.clock.now_s + 3600)
    assert held(lab).startswith("limit-temperature: at most 70 degrees")
    so_far = fetched(lab)
    assert 0 < so_far < 0.7 * MB
    heat(65.0)
    lab.device.run_until_quiet()
    assert fetched(lab) <= offered(lab) + WINDOW_BYTES
    assert codes(lab) == ["limit-temperature", "ok"]


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 40, b'{"schema": 2}'])
def test_a_count_that_cannot_be_read_counts_as_spent(content: bytes) -> None:
    lab, _ = limited(LimitSettings(day_bytes_max=MB))
    lab.device.board.files.content[budget.FILE] = content
    lab.ship()
    lab.device.run(lab.clock.now_s + 600)
    assert fetched(lab) == 0
    assert held(lab).startswith("limit-budget: ")
    lab.device.run_until_quiet(slices_max=24 * 6)
    assert codes(lab)[-1] == "ok"
