"""Nothing reaches devices that a device would refuse, and what is refused leaves no trace."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from agent.errors import ConfigError, ExpiredError, RollbackError, TrustError
from agent.release import encode_release, manifest_path, parse_release
from agent.rollout import parse_halts, parse_rollouts
from agent.strict import format_time
from fleet.keys import KeyFolders
from fleet.metadata import RoleName, served_document
from fleet.publish import publish
from fleet.release import find_release
from fleet.rollout import RolloutRequest, halt, start
from fleet.staging import Stage, restage
from tests.fleet.signing.support import LATER, NOW, Client, Fleet

RELEASES, ROLLOUTS = RoleName.RELEASES, RoleName.ROLLOUTS


def prepared(fleet: Fleet) -> None:
    """One release published, a second one and its rollout staged."""
    fleet.add("1", 1)
    fleet.publish()
    fleet.add("2", 2)
    start(fleet.workspace, fleet.keys, RolloutRequest("r", "2"), NOW)


def test_a_client_gets_every_document_and_every_blob(fleet: Fleet, tmp_path: Path) -> None:
    prepared(fleet)

    fleet.publish()

    client = Client(fleet, tmp_path / "device")
    content = client.fetch(manifest_path("2"))
    assert content is not None
    release = parse_release(content)
    blob = fleet.workspace.public / release.images[0].payloads[0].path
    assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    rollouts = client.fetch("rollouts/harbour.json")
    halts = client.fetch("halts/harbour.json")
    assert rollouts is not None
    assert halts is not None
    assert parse_rollouts(rollouts, "harbour").rollouts[0].counter == 2
    assert parse_halts(halts, "harbour").halts == ()


def test_the_timestamp_says_when_it_was_signed(fleet: Fleet) -> None:
    fleet.publish(LATER)

    timestamp = json.loads((fleet.workspace.public / "metadata/timestamp.json").read_bytes())

    assert timestamp["signed"]["x-signed-at"] == format_time(LATER)
    snapshot = json.loads((fleet.workspace.public / "metadata/1.snapshot.json").read_bytes())
    assert snapshot["signed"]["meta"]["releases.json"] == {"version": 1}


def test_publishing_again_only_renews_the_timestamp(fleet: Fleet) -> None:
    fleet.publish()

    assert fleet.publish(LATER).written == ("metadata/timestamp.json",)
    assert "metadata/2.snapshot.json" in fleet.publish(NOW + timedelta(days=8)).written


def test_halts_are_renewed_before_they_expire(fleet: Fleet) -> None:
    fleet.publish()

    publication = fleet.publish(NOW + timedelta(days=20))

    assert publication.versions[RoleName.HALTS] == 2
    assert publication.warnings == ()


def test_an_offline_role_is_announced_before_it_expires(fleet: Fleet) -> None:
    warnings = fleet.publish(NOW + timedelta(days=151)).warnings

    assert [warning.split()[0] for warning in warnings] == ["releases", "rollouts"]
    assert "sign releases --renew" in warnings[0]


def under_signed(fleet: Fleet) -> None:
    fleet.take_away("rollouts", fleet.workspace.root / "away")
    start(fleet.workspace, fleet.keys, RolloutRequest("s", "1"), NOW)


def tampered_role(fleet: Fleet) -> None:
    path = Stage(fleet.workspace).path(RELEASES)
    document = json.loads(path.read_bytes())
    document["signed"]["targets"].popitem()
    path.write_text(json.dumps(document))


def role_that_is_no_metadata(fleet: Fleet) -> None:
    Stage(fleet.workspace).path(RELEASES).write_text("{}")


def role_of_another_type(fleet: Fleet) -> None:
    stage = Stage(fleet.workspace)
    stage.path(RELEASES).write_bytes(stage.content(RoleName.ROOT))


def tampered_document(fleet: Fleet) -> None:
    target = Stage(fleet.workspace).targets(RELEASES).signed.targets[manifest_path("2")]
    path = fleet.workspace.stage / served_document(target)
    path.write_bytes(path.read_bytes().replace(b"feature", b"fixture"))


def missing_document(fleet: Fleet) -> None:
    target = Stage(fleet.workspace).targets(ROLLOUTS).signed.targets["rollouts/harbour.json"]
    (fleet.workspace.stage / served_document(target)).unlink()


def blob_of(fleet: Fleet) -> Path:
    release = find_release(fleet.workspace, "2")
    return fleet.workspace.stage / release.images[0].payloads[0].path


def missing_blob(fleet: Fleet) -> None:
    blob_of(fleet).unlink()


def short_blob(fleet: Fleet) -> None:
    path = blob_of(fleet)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1])


def changed_blob(fleet: Fleet) -> None:
    path = blob_of(fleet)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def sign_document(fleet: Fleet, role: RoleName, path: str, content: bytes) -> None:
    """What a holder of the role's keys can sign, with tools of their own."""
    stage = Stage(fleet.workspace)
    target = stage.put_document(path, content)
    restage(stage, role, fleet.keys, NOW, lambda signed: signed.targets.update({path: target}))


def mismatched_counter(fleet: Fleet) -> None:
    target = Stage(fleet.workspace).targets(ROLLOUTS).signed.targets["rollouts/harbour.json"]
    content = Stage(fleet.workspace).document(target)
    changed = content.replace(b'"counter":2', b'"counter":3')
    sign_document(fleet, ROLLOUTS, "rollouts/harbour.json", changed)


def rollout_of_no_release(fleet: Fleet) -> None:
    target = Stage(fleet.workspace).targets(ROLLOUTS).signed.targets["rollouts/harbour.json"]
    content = Stage(fleet.workspace).document(target)
    changed = content.replace(b'"release":"2"', b'"release":"3"')
    sign_document(fleet, ROLLOUTS, "rollouts/harbour.json", changed)


def document_that_does_not_parse(fleet: Fleet) -> None:
    sign_document(fleet, ROLLOUTS, "rollouts/harbour.json", b'{"schema": 2}')


def manifest_under_another_name(fleet: Fleet) -> None:
    content = encode_release(find_release(fleet.workspace, "2"))
    sign_document(fleet, RELEASES, manifest_path("3"), content)


def role_beyond_its_paths(fleet: Fleet) -> None:
    sign_document(fleet, RELEASES, "rollouts/harbour.json", b"{}")


def top_role_with_documents(fleet: Fleet) -> None:
    sign_document(fleet, RoleName.TARGETS, "rollouts/harbour.json", b"{}")


def rollouts_of_two_fleets(fleet: Fleet) -> None:
    sign_document(fleet, ROLLOUTS, "rollouts/other.json", b"{}")


def lost_timestamp_key(fleet: Fleet) -> None:
    fleet.take_away("timestamp", fleet.workspace.root / "away")


WRONG = [
    (under_signed, "signed by 0 of 2 keys"),
    (tampered_role, "signed by 0 of 1 keys"),
    (role_that_is_no_metadata, "TUF metadata was expected"),
    (role_of_another_type, "of type targets was expected, root found"),
    (tampered_document, "the bytes that were signed were expected"),
    (missing_document, "not in the stage"),
    (missing_blob, "is not there"),
    (short_blob, "bytes with SHA-256"),
    (changed_blob, "bytes with SHA-256"),
    (mismatched_counter, "counter 2 of release 2 was expected, 3 found"),
    (rollout_of_no_release, "names release '3'"),
    (document_that_does_not_parse, "schema"),
    (manifest_under_another_name, "calls itself '2'"),
    (role_beyond_its_paths, "may not sign"),
    (top_role_with_documents, "delegations and no documents"),
    (rollouts_of_two_fleets, "nothing else was expected"),
    (lost_timestamp_key, "timestamp: the private key ed25519-"),
]


@pytest.mark.parametrize(("spoil", "words"), WRONG, ids=[spoil.__name__ for spoil, _ in WRONG])
def test_what_a_device_would_refuse_is_not_published(
    fleet: Fleet, spoil: Callable[[Fleet], None], words: str
) -> None:
    prepared(fleet)
    before = fleet.picture()
    spoil(fleet)

    with pytest.raises(TrustError) as refused:
        fleet.publish()

    assert words in str(refused.value)
    assert fleet.picture() == before


def test_a_role_of_the_past_is_not_published(fleet: Fleet) -> None:
    fleet.publish()
    stage = Stage(fleet.workspace)
    old = stage.content(RELEASES)
    fleet.add("1", 1)
    fleet.publish()
    before = fleet.picture()
    stage.path(RELEASES).write_bytes(old)

    with pytest.raises(RollbackError, match="version 2 or later was expected, 1 found"):
        fleet.publish()
    assert fleet.picture() == before


def test_one_version_is_never_published_with_two_contents(fleet: Fleet) -> None:
    stage = Stage(fleet.workspace)
    fleet.add("1", 1)
    fleet.publish()
    metadata = stage.targets(RELEASES)
    metadata.signed.targets.clear()
    metadata.signatures.clear()
    for signer in fleet.keys.signers(RELEASES).values():
        metadata.sign(signer, append=True)
    stage.put(RELEASES, metadata)

    with pytest.raises(TrustError, match="published already, with other content"):
        fleet.publish()


def test_an_expired_role_is_not_published(fleet: Fleet) -> None:
    fleet.publish()
    before = fleet.picture()

    with pytest.raises(ExpiredError, match="sign releases --renew"):
        fleet.publish(NOW + timedelta(days=181))
    assert fleet.picture() == before


def test_a_dry_run_verifies_and_writes_nothing(fleet: Fleet) -> None:
    prepared(fleet)
    before = fleet.picture()

    publication = publish(fleet.workspace, fleet.keys, NOW, dry_run=True)

    assert "metadata/timestamp.json" in publication.written
    assert fleet.picture() == before


def test_a_halt_goes_out_while_a_rollout_waits_for_signatures(fleet: Fleet, tmp_path: Path) -> None:
    prepared(fleet)
    fleet.publish()
    under_signed(fleet)
    with pytest.raises(TrustError):
        fleet.publish()
    fleet.take_away("releases", tmp_path / "away")
    fleet.take_away("root", tmp_path / "away")
    fleet.take_away("targets", tmp_path / "away")

    halt(fleet.workspace, fleet.keys, "r", "it smokes", LATER)
    publish(fleet.workspace, fleet.keys, LATER, only=[RoleName.HALTS])

    client = Client(fleet, tmp_path / "device")
    content = client.fetch("halts/harbour.json", LATER)
    assert content is not None
    assert parse_halts(content, "harbour").halts[0].reason == "it smokes"
    rollouts = client.fetch("rollouts/harbour.json", LATER)
    assert rollouts is not None
    assert [rollout.id for rollout in parse_rollouts(rollouts, "harbour").rollouts] == ["r"]


def test_a_publication_that_was_cut_is_completed_by_the_next(fleet: Fleet, tmp_path: Path) -> None:
    prepared(fleet)
    timestamp = fleet.workspace.public / "metadata/timestamp.json"
    old = timestamp.read_bytes()
    fleet.publish()
    timestamp.write_bytes(old)  # everything but the last file had been written
    client = Client(fleet, tmp_path / "device")
    assert client.fetch(manifest_path("2")) is None

    fleet.publish(LATER)

    assert client.fetch(manifest_path("2"), LATER) is not None


def test_without_a_fleet_there_is_nothing_to_publish(fleet: Fleet) -> None:
    fleet.workspace.settings_file.unlink()

    with pytest.raises(ConfigError, match="lockgate-fleet init"):
        publish(fleet.workspace, KeyFolders(()), NOW)
