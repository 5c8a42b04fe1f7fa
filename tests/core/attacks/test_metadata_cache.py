"""What is lost or changed on the device's own disk costs a refresh and never the protection."""

import pytest

from agent import floor
from agent.errors import RollbackError, StateError
from simulator.faults import Storing
from simulator.power import Moment, PowerCut
from tests.core.clients import Client, make_client
from tests.core.samples import NOON
from tests.core.tuf_repository import DELEGATED, ROLES, TufRepository, make_repository

CACHED = (
    *(f"metadata/{role}.json" for role in ("timestamp", "snapshot", "targets", *DELEGATED)),
    "root_history/1.root.json",
    "root_history/2.root.json",
)
DAMAGES = {
    "lost": None,
    "empty": b"",
    "torn": b'{"signatures":[{"keyid":"',
    "zeros": bytes(500),
    "deep": b"[" * 100_000,
    "another": b'{"signatures":[],"signed":{"_type":"root"}}',
}


@pytest.fixture
def repository() -> TufRepository:
    made = make_repository()
    made.publish_root()
    made.publish()
    return made


@pytest.fixture
def client(repository: TufRepository) -> Client:
    made = make_client(repository)
    made.look()
    return made


def damage(client: Client, name: str, content: bytes | None) -> None:
    if content is None:
        del client.files.content[name]
    else:
        client.files.content[name] = content


def test_these_are_the_files_that_are_kept(client: Client) -> None:
    assert set(client.files.content) == {*CACHED, floor.FILE, floor.SPARE}


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("name", CACHED)
def test_a_damaged_file_is_mended_by_the_next_look(client: Client, name: str, kind: str) -> None:
    sound = dict(client.files.content)
    damage(client, name, DAMAGES[kind])
    client.look()
    assert client.files.content == sound


@pytest.mark.parametrize("kind", ["lost", "torn"])
@pytest.mark.parametrize("name", CACHED)
def test_a_damaged_file_lets_no_older_state_in(
    client: Client, repository: TufRepository, name: str, kind: str
) -> None:
    yesterday = repository.copy_files()
    repository.publish()
    client.look()
    damage(client, name, DAMAGES[kind])
    repository.files = yesterday
    client.refuses(RollbackError)


@pytest.mark.parametrize("kind", DAMAGES)
def test_with_all_of_it_damaged_no_older_state_comes_in(
    client: Client, repository: TufRepository, kind: str
) -> None:
    yesterday = repository.copy_files()
    repository.publish()
    client.look()
    for name in CACHED:
        damage(client, name, DAMAGES[kind])
    repository.files = yesterday
    client.refuses(RollbackError)


def test_without_a_floor_the_cache_lets_no_older_state_in(
    client: Client, repository: TufRepository
) -> None:
    yesterday = repository.copy_files()
    repository.publish()
    client.look()
    client.files.remove(floor.FILE)
    client.files.remove(floor.SPARE)
    repository.files = yesterday
    client.refuses(RollbackError)


def test_a_floor_that_cannot_be_read_lets_nothing_in(client: Client) -> None:
    for name in (floor.FILE, floor.SPARE):
        client.files.content[name] = b"{}"
    client.refuses(StateError)
    assert client.device().now() == NOON


def test_a_file_of_metadata_that_the_device_has_and_nobody_signed_changes_nothing(
    client: Client, repository: TufRepository
) -> None:
    client.files.content["root_history/3.root.json"] = b'{"signatures":[],"signed":{}}'
    client.files.content["metadata/strange.json"] = b"{}"
    assert client.look().versions["root"] == 2
    repository.publish_root()
    assert client.look().versions["root"] == 3


@pytest.mark.parametrize("moment", list(Moment))
def test_a_cut_at_any_write_of_a_refresh_is_mended_by_the_next_one(
    repository: TufRepository, moment: Moment
) -> None:
    whole = make_client(repository)
    whole.look()
    sound = {name: content for name, content in whole.files.content.items() if name != floor.SPARE}
    for number in range(1, whole.files.power.number + 1):
        client = make_client(repository)
        client.files.power.cut_at(number, moment)
        with pytest.raises(PowerCut):
            client.look()
        client.files.power.restore()
        assert client.look().versions == {**dict.fromkeys(ROLES, 2), "root": 2}
        client.files.content.pop(floor.SPARE, None)  # written with the next change of the floor
        assert client.files.content == sound


def test_a_full_disk_is_said_and_the_next_look_goes_on(
    client: Client, repository: TufRepository
) -> None:
    repository.publish()
    client.files.faults.add(Storing.DISK_FULL, times=2)
    for _ in range(2):
        with pytest.raises(StateError, match="full"):
            client.look()
    assert client.look().versions["halts"] == 3
