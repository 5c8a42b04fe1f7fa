"""Dates: a clock that is wrong, a repository that stands still, a key that signs the future."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.errors import ExpiredError
from agent.floor import BUILT
from agent.strict import format_time
from simulator.clock import SimulatedClock
from tests.core.clients import Client, make_client, unsynchronised
from tests.core.samples import NOON
from tests.core.tuf_repository import LIFETIME, ROLES, TufRepository, make_repository

DAY = timedelta(days=1)
NO_BATTERY = datetime(1970, 1, 1, tzinfo=UTC)
FAR = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.fixture
def repository() -> TufRepository:
    return make_repository()


@pytest.fixture
def client(repository: TufRepository) -> Client:
    return make_client(repository)


def stolen_timestamp(repository: TufRepository, signed_at: str) -> None:
    """Whoever holds the online key signs this date, valid for ever."""
    repository.timestamp.unrecognized_fields["x-signed-at"] = signed_at
    repository.set_expiry("timestamp", FAR)
    repository.publish_timestamp()


@pytest.mark.parametrize("role", ROLES)
def test_any_role_that_is_past_its_date_is_refused_and_accepted_when_signed_again(
    client: Client, repository: TufRepository, role: str
) -> None:
    client.look()
    repository.set_expiry(role, NOON - DAY)
    if role == "root":
        repository.publish_root()
    repository.publish()
    client.refuses_document(ExpiredError)
    repository.set_expiry(role, NOON + DAY)
    if role == "root":
        repository.publish_root()
    repository.publish()
    client.look()


def test_a_repository_that_stands_still_is_refused_when_its_date_has_passed(
    client: Client,
) -> None:
    client.look()
    client.clock = SimulatedClock(start=NOON + LIFETIME + DAY)
    client.refuses(ExpiredError)


def test_a_device_that_slept_for_a_year_takes_what_is_new(
    client: Client, repository: TufRepository
) -> None:
    client.look()
    later = NOON + timedelta(days=365)
    for role in ROLES:
        repository.set_expiry(role, later + LIFETIME)
    repository.publish_root()
    repository.publish()
    client.clock = SimulatedClock(start=later)
    assert client.look().versions["root"] == 2


def test_a_clock_in_1970_does_not_make_old_metadata_young(
    client: Client, repository: TufRepository
) -> None:
    client.look()
    client.clock = unsynchronised(NO_BATTERY)
    client.look()
    repository.set_expiry("timestamp", NOON - timedelta(seconds=1))
    repository.publish_timestamp()
    client.refuses(ExpiredError)


def test_a_new_device_in_1970_takes_nothing_from_before_it_was_built() -> None:
    repository = make_repository(now=BUILT - 30 * DAY)
    client = make_client(repository)
    client.clock = unsynchronised(NO_BATTERY)
    client.refuses(ExpiredError)


def test_a_clock_far_ahead_refuses_all_and_locks_nothing(client: Client) -> None:
    client.clock = SimulatedClock(start=datetime(2099, 1, 1, tzinfo=UTC))
    client.refuses(ExpiredError)
    client.clock = SimulatedClock(start=NOON)
    client.look()
    assert client.floor.time == NOON


def test_the_signed_date_is_what_a_device_without_a_clock_goes_by(
    client: Client, repository: TufRepository
) -> None:
    client.clock = unsynchronised(NO_BATTERY)
    client.look()
    assert client.device().now() == NOON
    repository.timestamp.unrecognized_fields["x-signed-at"] = format_time(NOON + DAY)
    repository.publish_timestamp()
    client.look()
    assert client.device().now() == NOON + DAY


@pytest.mark.parametrize("stated", ["", "soon", "9999", 5, None, [], "2026-11-21T12:00:00+00:00"])
def test_a_date_that_is_none_raises_nothing(
    client: Client, repository: TufRepository, stated: object
) -> None:
    repository.timestamp.unrecognized_fields["x-signed-at"] = stated
    repository.publish_timestamp()
    client.look()
    assert client.floor.time == BUILT


def test_a_date_after_its_own_expiry_counts_up_to_that_only(
    client: Client, repository: TufRepository
) -> None:
    repository.timestamp.unrecognized_fields["x-signed-at"] = format_time(FAR)
    repository.publish_timestamp()
    client.look()
    assert client.floor.time == NOON + LIFETIME


def test_a_future_that_a_stolen_key_signed_begins_no_phase_on_a_device_that_knows_the_date(
    client: Client, repository: TufRepository
) -> None:
    stolen_timestamp(repository, format_time(NOON + 300 * DAY))
    client.look()
    assert client.device().now() == NOON


@pytest.mark.parametrize("signed_at", [NOON + 300 * DAY, FAR])
def test_a_future_that_a_stolen_key_signed_ends_with_the_key(
    client: Client, repository: TufRepository, signed_at: datetime
) -> None:
    stolen_timestamp(repository, format_time(signed_at))
    client.look()
    client.refuses(ExpiredError)  # every role but the thief's looks expired from here on
    repository.rotate("timestamp", "timestamp-2")
    repository.timestamp.unrecognized_fields["x-signed-at"] = format_time(NOON)
    repository.set_expiry("timestamp", NOON + LIFETIME)
    repository.publish()
    view = client.look()
    assert view.versions["root"] == 2
    assert client.floor.time == NOON


def test_a_rotation_does_not_make_expired_metadata_young(
    client: Client, repository: TufRepository
) -> None:
    client.look()
    repository.rotate("timestamp", "timestamp-2")
    repository.set_expiry("timestamp", NOON - DAY)
    repository.publish()
    client.refuses(ExpiredError)
    client.clock = unsynchronised(NO_BATTERY)
    repository.set_expiry("timestamp", BUILT - DAY)
    repository.publish()
    client.refuses(ExpiredError)
