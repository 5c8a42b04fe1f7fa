"""Old, mixed and stolen versions: what was once true must not come back."""

import pytest
from tuf.api.metadata import MetaFile

from agent.errors import FetchError, RollbackError, TrustError
from tests.core.clients import Client, make_client
from tests.core.samples import HALTS
from tests.core.tuf_repository import (
    DELEGATED,
    TufRepository,
)


def test_a_root_that_skips_a_version_is_refused(client: Client, repository: TufRepository) -> None:
    repository.publish_root()
    repository.publish_root()
    repository.files["metadata/2.root.json"] = repository.files["metadata/3.root.json"]
    client.refuses(RollbackError)


def test_all_files_of_yesterday_are_refused(client: Client, repository: TufRepository) -> None:
    yesterday = repository.copy_files()
    repository.publish()
    client.look()
    repository.files = yesterday
    client.refuses(RollbackError)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", *DELEGATED])
def test_an_older_version_of_any_role_is_refused_although_it_is_validly_signed(
    client: Client, repository: TufRepository, role: str
) -> None:
    repository.publish()
    client.look()
    signed = repository.role(role)
    signed.version -= 2  # whoever publishes next with the right keys makes version 1 again
    if role == "timestamp":
        repository.publish_timestamp()
    elif role == "snapshot":
        repository.publish_snapshot()
        repository.publish_timestamp()
    else:
        repository.publish_targets(role)
        repository.publish_snapshot()
        repository.publish_timestamp()
    client.refuses(RollbackError)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", *DELEGATED])
def test_an_older_version_is_refused_also_by_a_device_that_lost_its_cache(
    client: Client, repository: TufRepository, role: str
) -> None:
    repository.publish()
    client.look()
    client.lose_cache()
    test_an_older_version_of_any_role_is_refused_although_it_is_validly_signed(
        client, repository, role
    )


def test_an_older_root_is_refused_by_a_device_that_lost_its_cache(
    client: Client, repository: TufRepository
) -> None:
    yesterday = repository.copy_files()
    for role in ("root", "timestamp", "snapshot"):
        repository.rotate(role, f"{role}-2")
    repository.publish()
    client.look()
    client.lose_cache()
    repository.files = yesterday
    assert "root: version 4" in client.refuses(RollbackError)


def test_roles_of_different_days_do_not_mix(client: Client, repository: TufRepository) -> None:
    old = repository.copy_files()
    repository.publish()
    for path in ("metadata/2.snapshot.json", "metadata/2.rollouts.json"):
        mixed = repository.copy_files()
        mixed[path] = old[path.replace("/2.", "/1.")]
        sound, repository.files = repository.files, mixed
        client.refuses_document(TrustError)
        repository.files = sound
    client.look()


def test_a_role_that_the_snapshot_does_not_name_is_refused(
    client: Client, repository: TufRepository
) -> None:
    del repository.snapshot.meta["halts.json"]
    repository.publish_snapshot()
    repository.publish_timestamp()
    client.refuses(TrustError)
    client = make_client(repository)
    with pytest.raises(TrustError, match="snapshot"):
        client.look()


def test_a_version_that_a_thief_raised_is_undone_by_other_keys(
    client: Client, repository: TufRepository
) -> None:
    repository.timestamp.version = 2**31
    repository.snapshot.version = 2**31
    repository.snapshot.meta["halts.json"] = MetaFile(2**31)
    repository.publish_snapshot()
    repository.publish_timestamp()
    client.refuses_document(FetchError)  # the halts of that version are nowhere
    assert client.floor.roles["timestamp"].version > 2**31
    repository.rotate("timestamp", "timestamp-2")
    repository.rotate("snapshot", "snapshot-2")
    repository.timestamp.version = repository.snapshot.version = 1
    repository.publish()
    assert client.look().versions["timestamp"] == 2
    assert client.floor.roles["halts"].version == 2


def test_the_same_version_with_other_content_is_not_taken_up(
    client: Client, repository: TufRepository
) -> None:
    repository.timestamp.version -= 1
    repository.documents["halts"] = {}
    repository.targets["halts"].targets.clear()
    repository.targets["halts"].version -= 1
    repository.publish_targets("halts")
    repository.snapshot.version -= 1
    repository.publish_snapshot()
    repository.publish_timestamp()
    assert client.look().halts == HALTS
