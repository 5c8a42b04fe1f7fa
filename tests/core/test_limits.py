"""The owner's limits: what they say to every condition, and a count that no power cut makes too low."""

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from agent import budget
from agent.budget import GRANT_BYTES, NOTE_BYTES, Budget, Spent, on_day
from agent.config import parse_config
from agent.errors import BudgetError, ConfigError, LimitError, UpdateBudgetError
from agent.frugal import Frugal, Range
from agent.interfaces import Conditions, WallTime
from agent.limits import MIB, NO_LIMITS, LimitSettings, Metered, OnMetered, Wish, find_hold
from agent.strict import encode_json
from simulator.clock import SimulatedClock
from simulator.files import SimulatedFiles
from simulator.power import Power
from simulator.repository import MemorySource, SimulatedRepository

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = 1_000_000
PATH = "blobs/" + "ab" * 32
START: Final[dict[str, object]] = {"schema": 1, "update": "", "update_bytes": 0}


def hold(settings: LimitSettings, conditions: Conditions, wish: Wish | None = None) -> str:
    found = find_hold(settings, conditions, wish or Wish(), was_hot=False)
    return "" if found is None else found.code


@pytest.mark.parametrize("metered", [None, False, True])
def test_without_limits_nothing_is_held(metered: bool | None) -> None:  # noqa: FBT001  # a parameter
    worst = Conditions(memory_available_bytes=0, temperature_celsius=500.0, metered=metered)
    assert hold(NO_LIMITS, worst) == ""


@pytest.mark.parametrize("how", list(Metered))
@pytest.mark.parametrize("on", list(OnMetered))
@pytest.mark.parametrize("told", [None, False, True])
@pytest.mark.parametrize("wish", [Wish(), Wish(security=True), Wish(consented=True)])
def test_the_link_is_judged_by_every_rule(
    how: Metered,
    on: OnMetered,
    told: bool | None,  # noqa: FBT001  # a parameter
    wish: Wish,
) -> None:
    metered = how is Metered.YES or (how is Metered.ASK_SYSTEM and told is not False)
    allowed = on is OnMetered.ALLOW or (on is OnMetered.SECURITY and wish.security)
    expected = "limit-metered" if metered and not allowed and not wish.consented else ""
    settings = LimitSettings(metered=how, on_metered=on)
    assert hold(settings, Conditions(metered=told), wish) == expected


def test_memory_and_heat_hold_from_their_limits_on() -> None:
    settings = LimitSettings(memory_min_mib=100, temperature_max_celsius=70)
    fine = Conditions(memory_available_bytes=100 * MIB, temperature_celsius=70.0)
    assert hold(settings, fine) == ""
    assert hold(settings, Conditions()) == ""
    assert hold(settings, replace(fine, memory_available_bytes=100 * MIB - 1)) == "limit-memory"
    assert hold(settings, replace(fine, temperature_celsius=70.1)) == "limit-temperature"
    cooler = replace(fine, temperature_celsius=66.0)
    assert find_hold(settings, cooler, Wish(), was_hot=True) is not None
    assert (
        find_hold(settings, replace(fine, temperature_celsius=65.0), Wish(), was_hot=True) is None
    )


def test_a_day_begins_at_nothing_and_a_clock_that_goes_back_does_not() -> None:
    spent = Spent("2026-11-21", 500, "u", 700)
    assert on_day(spent, "2026-11-22", vouched=False) == Spent("2026-11-22", 0, "u", 700)
    assert on_day(spent, "2026-11-20", vouched=False) == spent
    assert on_day(spent, "2026-11-20", vouched=True) == replace(spent, day="2026-11-20")
    assert on_day(spent, "2026-11-21", vouched=True) == spent


SETTINGS = (Path(__file__).parents[2] / "packaging" / "agent.toml").read_text()


def configured(lines: str) -> LimitSettings:
    """As `agent.toml` says it."""
    before, _, rest = SETTINGS.partition("[limits]")
    after = rest[rest.index("[reboot]") :]
    return parse_config(f"{before}{lines}\n{after}".encode(), "agent.toml").limits


def test_the_table_and_each_of_its_keys_may_be_missing() -> None:
    assert configured("") == configured("[limits]") == NO_LIMITS
    found = configured('[limits]\nday_bytes_max = 1000000\nmetered = "ask-system"')
    assert found == LimitSettings(day_bytes_max=1_000_000, metered=Metered.ASK_SYSTEM)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("day_bytes_max = 1000", "at least 65536"),
        ("rate_bytes_per_s = 1", "at least 512"),
        ("day_bytes_max = -1", "an integer from 0"),
        ('metered = "sometimes"', "one of no, yes, ask-system"),
        ('on_metered = "never"', "one of allow, security, ask, defer"),
        ("temperature_max_celsius = 151", "from 0 to 150"),
        ("low_priority = 1", "true or false"),
        ("week_bytes_max = 1", "week_bytes_max"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused(line: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        configured(f"[limits]\n{line}")


@dataclass(slots=True)
class Bench:
    """One device's files over many boots, and what its budget allowed."""

    settings: LimitSettings
    files: SimulatedFiles = field(default_factory=lambda: SimulatedFiles(Power()))
    utc: datetime = NOON
    synchronised: bool = True

    def wall(self) -> WallTime:
        return WallTime(self.utc, synchronised=self.synchronised)

    def boot(self) -> Budget:
        return Budget(self.files, self, self.settings)

    @property
    def durable(self) -> Spent:
        spent = budget.load(self.files)
        assert spent is not None
        return spent


@dataclass(slots=True)
class Life:
    """Many boots with chance at work: what was really fetched each day, and what cuts may have forgotten."""

    bench: Bench
    chance: random.Random
    fetched: dict[str, int] = field(default_factory=dict)
    payload: dict[str, int] = field(default_factory=dict)
    forgotten: dict[str, int] = field(default_factory=dict)
    held: int = 0

    @property
    def day(self) -> str:
        return self.bench.utc.date().isoformat()

    def add(self, length_bytes: int) -> None:
        self.fetched[self.day] = self.fetched.get(self.day, 0) + length_bytes

    def boot(self) -> None:
        count = self.bench.boot()
        count.begin("u")
        for _ in range(self.chance.randrange(1, 12)):
            self.step(count)
        if self.chance.random() < 0.5:
            count.settle()
        else:
            self.forgotten[self.day] = self.forgotten.get(self.day, 0) + NOTE_BYTES

    def step(self, count: Budget) -> None:
        if self.chance.random() < 0.2:
            length = self.chance.randrange(1, 5000)
            count.note(length)
            self.add(length)
            return
        wanted = self.chance.randrange(1, 300_000)
        try:
            granted = count.grant(wanted)
        except BudgetError as error:
            self.held += 1
            self.bench.utc += timedelta(seconds=error.again_s)
            return
        assert granted >= wanted
        taken = self.chance.choice((wanted, granted, 0))
        self.add(taken)
        self.payload[self.day] = self.payload.get(self.day, 0) + taken
        self.bench.utc += timedelta(hours=self.chance.choice((0, 0, 0, 3)))
        count.give_back(granted - taken)


@pytest.mark.parametrize("seed", range(20))
def test_no_cut_makes_the_count_too_low_and_no_day_gets_more(seed: int) -> None:
    life = Life(Bench(LimitSettings(day_bytes_max=DAY)), random.Random(seed))
    for _ in range(30):
        life.boot()
        spent = life.bench.durable
        if spent.day == life.day:
            known = life.fetched.get(life.day, 0) - life.forgotten.get(life.day, 0)
            assert spent.day_bytes >= known
        life.bench.utc += timedelta(hours=life.chance.randrange(3))
    assert life.held
    assert max(life.payload.values()) <= DAY


def test_a_settled_count_is_exact() -> None:
    bench = Bench(LimitSettings(day_bytes_max=DAY))
    count = bench.boot()
    count.begin("u")
    granted = count.grant(1000)
    assert granted == GRANT_BYTES
    assert bench.durable.day_bytes == GRANT_BYTES
    count.give_back(granted - 1000)
    count.note(10)
    count.settle()
    assert bench.durable == Spent("2026-11-21", 1010, "u", 1010)


def test_an_update_has_a_budget_of_its_own() -> None:
    bench = Bench(LimitSettings(update_bytes_max=DAY))
    count = bench.boot()
    count.begin("one")
    count.grant(DAY)
    with pytest.raises(UpdateBudgetError, match="update_bytes_max"):
        count.grant(1)
    count.begin("two")
    assert count.grant(1) >= 1


def test_a_record_that_no_day_can_pay_for_ends_the_update() -> None:
    count = Bench(LimitSettings(day_bytes_max=DAY)).boot()
    with pytest.raises(UpdateBudgetError, match="too few for one record"):
        count.grant(DAY + 1)


def frugal(content: bytes, settings: LimitSettings) -> tuple[Frugal, SimulatedRepository, Bench]:
    clock = SimulatedClock()
    repository = SimulatedRepository(MemorySource({PATH: content, "metadata/x": content}), clock)
    bench = Bench(settings)
    made = Frugal(repository, bench.files, clock, bench.boot(), settings.rate_bytes_per_s)
    return made, repository, bench


def read_all(repository: Frugal, path: str, offset: int, length: int, step: int) -> bytes:
    stream = repository.open(path, offset, length)
    parts = []
    while part := stream.read(step):
        parts.append(part)
    stream.close()
    return b"".join(parts)


@pytest.mark.parametrize("step", [1000, 70_000, 300_000])
@pytest.mark.parametrize("path", [PATH, "metadata/x"])
@pytest.mark.parametrize("rate", [0, 50_000])
def test_what_comes_through_is_what_is_there(path: str, step: int, rate: int) -> None:
    content = random.Random(1).randbytes(700_001)
    settings = LimitSettings(day_bytes_max=10 * DAY, rate_bytes_per_s=rate)
    limited, repository, _ = frugal(content, settings)
    assert read_all(limited, path, 5, 10 * DAY, step) == content[5:]
    assert read_all(limited, path, 700_000, 1, step) == content[-1:]
    assert repository.sent_bytes() == len(content) - 5 + 1


def test_a_read_that_cannot_end_is_not_begun() -> None:
    limited, repository, _ = frugal(bytes(2 * DAY), LimitSettings(day_bytes_max=DAY))
    stream = limited.open(PATH, 0, 2 * DAY)
    left: list[int] = []

    def record() -> None:
        left.append(70_000)
        while left[-1]:
            left[-1] -= len(stream.read(left[-1]))

    for _ in range(DAY // 70_000):
        record()
    with pytest.raises(LimitError):
        record()
    stream.close()
    assert left[-1] == 70_000, "it was refused before its first byte"
    assert repository.sent_bytes() == DAY // 70_000 * 70_000


def test_what_is_kept_is_not_fetched_again_in_the_next_boot() -> None:
    content = random.Random(2).randbytes(100_000)
    limited, repository, bench = frugal(content, LimitSettings(day_bytes_max=DAY))
    ranges = [(0, 30_000), (99_999, 100_000)]
    limited.expect([Range(PATH, start, end) for start, end in ranges])
    assert read_all(limited, PATH, 99_999, 1, 1) == content[-1:]
    assert read_all(limited, PATH, 0, 40_000, 10_000) == content[:40_000]
    limited.keep()

    again = Frugal(repository, bench.files, SimulatedClock(), bench.boot(), 0)
    again.expect([Range(PATH, start, end) for start, end in ranges])
    before = repository.sent_bytes()
    assert read_all(again, PATH, 99_999, 1, 1) == content[-1:]
    assert read_all(again, PATH, 10_000, 20_000, 7_000) == content[10_000:30_000]
    assert repository.sent_bytes() == before
    assert read_all(again, PATH, 20_000, 80_000, 7_000) == content[20_000:]
    assert repository.sent_bytes() == before + 70_000
    again.forget()
    assert bench.files.names("kept") == ()


def test_what_was_kept_for_an_update_that_was_overtaken_does_not_fill_the_disk() -> None:
    content = random.Random(3).randbytes(50_000)
    limited, _, bench = frugal(content, LimitSettings(day_bytes_max=DAY))
    for release in range(5):
        one = Range(PATH, release, 30_000)
        limited.expect([one])
        assert read_all(limited, PATH, release, 30_000, 10_000)
        limited.keep()
        assert bench.files.names("kept") == (one.name,)


@pytest.mark.parametrize(
    "day", ["", "2026-11-20", "soon", "9999-12-31", "2026-13-01", "9026-11-21"]
)
def test_a_day_that_is_no_date_or_the_last_of_all_counts_as_spent(day: str) -> None:
    bench = Bench(LimitSettings(day_bytes_max=DAY), synchronised=False)
    bench.files.replace(budget.FILE, encode_json({**START, "day": day, "day_bytes": DAY}))
    if day in ("", "2026-11-20"):
        assert bench.boot().grant(1) >= 1
        return
    with pytest.raises(BudgetError) as told:
        bench.boot().grant(1)
    assert 0 < told.value.again_s <= 86_400
