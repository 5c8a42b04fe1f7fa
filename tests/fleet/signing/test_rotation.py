"""Keys change, and a device that was there before still updates."""

from datetime import timedelta
from pathlib import Path

import pytest
from tuf.api.exceptions import RepositoryError

from agent.errors import ConfigError, TrustError
from agent.release import manifest_path
from fleet.keys import KeyFolders, KeyKind, load_public, public_pem
from fleet.metadata import RoleName
from fleet.rotation import add_key, kind_of, new_key, role_keys, rotate_key
from fleet.staging import Stage
from tests.fleet.signing.support import LATER, NOW, Client, Fleet


def rotated(fleet: Fleet, role: RoleName) -> str:
    """A new key for the role's first one; the id of the old one, whose file is destroyed later."""
    old = role_keys(Stage(fleet.workspace), role).keys[0]
    key = new_key(fleet.workspace, role, kind_of(old))
    statuses = rotate_key(fleet.workspace, fleet.keys, role, key, LATER, old=old.keyid)
    assert all(status.complete for status in statuses)
    return old.keyid


@pytest.mark.parametrize("role", list(RoleName))
def test_a_device_follows_a_rotation_of_any_role(
    fleet: Fleet, tmp_path: Path, role: RoleName
) -> None:
    fleet.add("1", 1)
    fleet.publish()
    client = Client(fleet, tmp_path / "device")
    assert client.fetch(manifest_path("1")) is not None

    old = rotated(fleet, role)
    fleet.publish(LATER)
    for path in (fleet.workspace.keys / role).glob("*.pem"):
        if old.startswith(path.stem.rpartition("-")[2]):
            path.unlink()
    fleet.add("2", 2)
    fleet.publish(LATER + timedelta(hours=1))

    assert client.fetch(manifest_path("2"), LATER + timedelta(hours=1)) is not None
    assert client.fetch("halts/harbour.json", LATER + timedelta(hours=1)) is not None
    fresh = Client(fleet, tmp_path / "fresh")
    assert fresh.fetch(manifest_path("2"), LATER + timedelta(hours=1)) is not None


def test_root_rotates_several_times_and_old_devices_walk_along(
    fleet: Fleet, tmp_path: Path
) -> None:
    fleet.publish()
    client = Client(fleet, tmp_path / "device")
    client.fetch("halts/harbour.json")

    for _ in range(4):
        rotated(fleet, RoleName.ROOT)
        fleet.publish(LATER)

    assert client.fetch("halts/harbour.json", LATER) is not None
    assert (fleet.workspace.public / "metadata/5.root.json").exists()


def test_root_may_change_before_the_first_publication(fleet: Fleet, tmp_path: Path) -> None:
    rotated(fleet, RoleName.TIMESTAMP)

    fleet.publish(LATER)

    assert Client(fleet, tmp_path / "device").fetch("halts/harbour.json", LATER) is not None


def test_two_changes_of_root_before_a_publication_make_one_version(fleet: Fleet) -> None:
    fleet.publish()
    rotated(fleet, RoleName.TIMESTAMP)
    rotated(fleet, RoleName.SNAPSHOT)

    assert Stage(fleet.workspace).root().signed.version == 2
    fleet.publish(LATER)


def test_a_new_root_needs_the_keys_of_the_root_before_it(fleet: Fleet, tmp_path: Path) -> None:
    fleet.publish()
    before = fleet.picture()
    old = fleet.workspace.keys / "root"
    old.rename(tmp_path / "root")
    stage = Stage(fleet.workspace)
    sentences: list[str] = []
    for key in role_keys(stage, RoleName.ROOT).keys:
        replacement = new_key(fleet.workspace, RoleName.ROOT, kind_of(key))
        statuses = rotate_key(
            fleet.workspace, fleet.keys, RoleName.ROOT, replacement, LATER, old=key.keyid
        )
        sentences += [status.sentence for status in statuses]

    assert "of the root before it" in sentences[-1]
    with pytest.raises(TrustError, match="of the root before it"):
        fleet.publish(LATER)
    assert fleet.picture() == before


def test_a_stolen_timestamp_key_is_worthless_after_its_rotation(
    fleet: Fleet, tmp_path: Path
) -> None:
    fleet.publish()
    old = (fleet.workspace.public / "metadata/timestamp.json").read_bytes()
    rotated(fleet, RoleName.TIMESTAMP)
    fleet.publish(LATER)
    (fleet.workspace.public / "metadata/timestamp.json").write_bytes(old)

    with pytest.raises(RepositoryError):
        Client(fleet, tmp_path / "device").fetch("halts/harbour.json", LATER)


def test_a_key_from_another_machine_joins_by_its_public_half(fleet: Fleet, tmp_path: Path) -> None:
    fleet.publish()
    there = KeyFolders((tmp_path / "there",))
    key = new_key(fleet.workspace, RoleName.RELEASES, KeyKind.ED25519, there)
    public = tmp_path / "key.pub"
    public.write_bytes(public_pem(there.signers("releases")[key.keyid]))

    statuses = add_key(
        fleet.workspace,
        fleet.keys,
        RoleName.RELEASES,
        load_public(public),
        LATER,
        threshold=2,
    )

    assert [status.complete for status in statuses] == [True, False]
    assert "still needed: ed25519-" in statuses[1].sentence


def test_keys_that_make_no_sense_are_refused(fleet: Fleet, tmp_path: Path) -> None:
    stage = Stage(fleet.workspace)
    known = role_keys(stage, RoleName.RELEASES).keys[0]
    with pytest.raises(ConfigError, match="one of its keys already"):
        add_key(fleet.workspace, fleet.keys, RoleName.RELEASES, known, NOW)
    key = new_key(fleet.workspace, RoleName.ROLLOUTS, KeyKind.ED25519)
    with pytest.raises(ConfigError, match="--old"):
        rotate_key(fleet.workspace, fleet.keys, RoleName.ROLLOUTS, key, NOW)
    with pytest.raises(ConfigError, match="--threshold: 1 to 3"):
        add_key(fleet.workspace, fleet.keys, RoleName.ROLLOUTS, key, NOW, threshold=4)
    wrong = tmp_path / "wrong.pub"
    wrong.write_text("no key")
    with pytest.raises(ConfigError, match="public key in PEM"):
        load_public(wrong)
    (fleet.workspace.keys / "releases/wrong.pem").write_text("no key")
    with pytest.raises(ConfigError, match="private key in PKCS#8"):
        fleet.keys.signers("releases")
