"""Who signs counts: hybrid roles need both kinds of keys, and signatures may come from elsewhere."""

import json
import shutil
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

from agent.errors import ConfigError, TrustError
from fleet.ceremony import merge, sign_file, sign_staged
from fleet.keys import KeyFolders, KeyKind, is_post_quantum
from fleet.metadata import RoleName
from fleet.rollout import RolloutRequest, current_rollouts, start
from fleet.rotation import add_key, new_key, renew, role_keys
from fleet.staging import Stage
from tests.fleet.signing.support import LATER, NOW, Client, Fleet


def keys_of_kind(fleet: Fleet, role: RoleName, folder: Path, *, post_quantum: bool) -> KeyFolders:
    """Only the private keys of one kind."""
    (folder / role).mkdir(parents=True)
    for keyid, signer in fleet.keys.signers(role).items():
        if is_post_quantum(signer.public_key) == post_quantum:
            (folder / role / f"{keyid}.pem").write_bytes(signer.private_bytes)
    return KeyFolders((folder,))


@pytest.mark.parametrize("role", [RoleName.ROOT, RoleName.TARGETS])
@pytest.mark.parametrize("post_quantum", [False, True])
def test_one_kind_of_keys_alone_cannot_sign(
    fleet: Fleet, tmp_path: Path, role: RoleName, *, post_quantum: bool
) -> None:
    fleet.publish()
    before = fleet.picture()
    alone = keys_of_kind(fleet, role, tmp_path / "alone", post_quantum=post_quantum)

    status = renew(fleet.workspace, alone, role, LATER)

    assert not status.complete
    with pytest.raises(TrustError, match=f"{role}: version 2 is signed by"):
        fleet.publish(LATER)
    assert fleet.picture() == before


def test_a_root_with_one_key_lost_can_still_be_signed(fleet: Fleet, tmp_path: Path) -> None:
    fleet.publish()
    folder = fleet.workspace.keys / "root"
    lost = min(folder.glob("*.pem"))
    lost.rename(tmp_path / lost.name)

    assert renew(fleet.workspace, fleet.keys, RoleName.ROOT, LATER).complete
    fleet.publish(LATER)
    assert Client(fleet, tmp_path / "device").fetch("halts/harbour.json", LATER) is not None


def test_what_is_still_needed_is_named(fleet: Fleet, tmp_path: Path) -> None:
    fleet.add("1", 1)
    folder = fleet.workspace.keys / "rollouts"
    other = min(folder.glob("*.pem"))
    other.rename(tmp_path / other.name)

    status = start(fleet.workspace, fleet.keys, RolloutRequest("r", "1"), NOW)

    assert status.sentence == (
        f"rollouts: version 2 is signed by 1 of 2 keys; still needed: {other.stem}; "
        "run `lockgate-fleet sign rollouts --keys DIR`"
    )


def test_a_carried_copy_brings_back_signatures_and_nothing_else(
    fleet: Fleet, tmp_path: Path
) -> None:
    fleet.add("1", 1)
    fleet.take_away("rollouts", tmp_path / "home")
    start(fleet.workspace, fleet.keys, RolloutRequest("r", "1"), NOW)
    staged = Stage(fleet.workspace).path(RoleName.ROLLOUTS)
    content = json.loads(staged.read_bytes())
    first, second = sorted((tmp_path / "home/rollouts").glob("*.pem"))
    copies = []
    for key in (first, second):  # two people, at the same time, on machines of their own
        folder = tmp_path / key.stem
        folder.mkdir()
        shutil.copy(key, folder)
        copies.append(folder / "rollouts.json")
        shutil.copy(staged, copies[-1])
        assert sign_file(copies[-1], KeyFolders((folder,)), RoleName.ROLLOUTS) == (key.stem,)

    assert not merge(fleet.workspace, RoleName.ROLLOUTS, copies[0]).complete
    assert merge(fleet.workspace, RoleName.ROLLOUTS, copies[1]).complete

    signed = json.loads(staged.read_bytes())
    assert signed["signed"] == content["signed"]
    assert len(signed["signatures"]) == 2
    fleet.publish()


def test_signing_twice_changes_nothing(fleet: Fleet) -> None:
    staged = Stage(fleet.workspace).path(RoleName.ROOT)
    before = staged.read_bytes()

    assert sign_staged(fleet.workspace, fleet.keys, RoleName.ROOT).complete

    assert staged.read_bytes() == before


def test_a_copy_with_other_content_is_not_merged(fleet: Fleet, tmp_path: Path) -> None:
    copy = tmp_path / "releases.json"
    shutil.copy(Stage(fleet.workspace).path(RoleName.RELEASES), copy)
    fleet.add("1", 1)

    with pytest.raises(TrustError, match=r"Carry .* again"):
        merge(fleet.workspace, RoleName.RELEASES, copy)


def test_a_signature_by_a_stranger_does_not_count(fleet: Fleet, tmp_path: Path) -> None:
    fleet.take_away("releases", tmp_path / "home")
    new_key(fleet.workspace, RoleName.RELEASES, KeyKind.ED25519)

    made = fleet.add("1", 1)

    assert made.status is not None
    assert not made.status.complete


def test_a_file_without_any_key_is_not_signed(fleet: Fleet, tmp_path: Path) -> None:
    staged = Stage(fleet.workspace).path(RoleName.ROOT)

    with pytest.raises(ConfigError, match="no private key"):
        sign_file(staged, KeyFolders((tmp_path,)), RoleName.ROOT)


def test_a_change_that_would_end_the_hybrid_is_refused(fleet: Fleet) -> None:
    stage = Stage(fleet.workspace)
    key = new_key(fleet.workspace, RoleName.ROOT, KeyKind.ED25519)

    with pytest.raises(ConfigError, match="--threshold 4"):
        add_key(fleet.workspace, fleet.keys, RoleName.ROOT, key, NOW)
    add_key(fleet.workspace, fleet.keys, RoleName.ROOT, key, NOW, threshold=4)

    assert role_keys(stage, RoleName.ROOT).hybrid
    assert len(role_keys(stage, RoleName.ROOT).keys) == 5


def test_keys_are_readable_by_their_owner_alone(fleet: Fleet) -> None:
    modes = {path.stat().st_mode & 0o777 for path in fleet.workspace.keys.rglob("*.pem")}

    assert modes == {0o600}
    root = Metadata[Root].from_file(str(fleet.workspace.stage / "root_of_trust.json"))
    assert root.signed.roles["root"].threshold == 3
    assert current_rollouts(fleet.workspace).rollouts == ()
