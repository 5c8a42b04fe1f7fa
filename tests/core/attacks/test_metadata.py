"""A mirror, or whoever holds some of the keys, against the device's view of its fleet."""

import json
from dataclasses import replace

import pytest
from tuf.api.metadata import DelegatedRole, Key

from agent.errors import NotFoundError, TrustError
from agent.release import encode_release
from agent.rollout import Rollouts, encode_rollouts
from tests.core.attacks.forgery import edit, newest
from tests.core.clients import Client, make_client
from tests.core.samples import HALTS, RELEASE, ROLLOUT, ROLLOUTS
from tests.core.tuf_repository import (
    FLEET,
    MANIFEST,
    ROLES,
    ROLLOUTS_PATH,
    TufRepository,
    make_repository,
    signer,
)


def test_what_is_signed_is_believed(client: Client, repository: TufRepository) -> None:
    repository.publish()
    view = client.look()
    assert (view.rollouts, view.halts, view.release) == (ROLLOUTS, HALTS, RELEASE)
    assert view.versions == {**dict.fromkeys(ROLES, 2), "root": 1}
    assert {role: one.version for role, one in client.floor.roles.items()} == view.versions


def test_a_second_look_writes_nothing(client: Client) -> None:
    before = client.files.writes
    client.look()
    assert client.files.writes == before


@pytest.mark.parametrize("role", ROLES)
def test_one_changed_byte_of_any_role_is_refused(repository: TufRepository, role: str) -> None:
    path = newest(repository, role)
    client = make_client(repository)
    spoiled = repository.files[path].replace(b"2026-11-28", b"2036-11-28")
    assert spoiled != repository.files[path]
    if role == "root":
        client.root_of_trust = spoiled
    repository.files[path] = spoiled
    client.refuses_document(TrustError)


@pytest.mark.parametrize("role", [role for role in ROLES if role != "root"])
def test_a_role_that_nobody_signed_is_refused(
    client: Client, repository: TufRepository, role: str
) -> None:
    repository.keys[role] = []
    repository.publish()
    client.refuses_document(TrustError)


@pytest.mark.parametrize("role", [role for role in ROLES if role != "root"])
def test_a_role_that_another_key_signed_is_refused(
    client: Client, repository: TufRepository, role: str
) -> None:
    repository.keys[role] = [next(other for other in ROLES if other != role)]
    repository.publish()
    client.refuses_document(TrustError)


@pytest.mark.parametrize("role", [role for role in ROLES if role != "root"])
def test_one_signature_below_the_threshold_is_refused_also_when_it_stands_twice(role: str) -> None:
    repository = make_repository({role: [f"{role}-1", f"{role}-2"]})
    client = make_client(repository)
    client.look()
    repository.keys[role] = [f"{role}-1"]
    repository.publish()
    client.refuses_document(TrustError)

    def twice(document: dict[str, object]) -> None:
        signatures = document["signatures"]
        assert isinstance(signatures, list)
        signatures.append({**signatures[0], "keyid": "00" * 32})

    edit(repository, role, twice)
    client.refuses_document(TrustError)


def test_a_new_root_needs_the_keys_of_the_old_one_and_its_own(
    client: Client, repository: TufRepository
) -> None:
    repository.rotate("root", "root-2")
    sound = repository.files["metadata/2.root.json"]
    for missing in ("root", "root-2"):
        document = json.loads(sound)
        keyid = signer(missing).public_key.keyid
        document["signatures"] = [one for one in document["signatures"] if one["keyid"] != keyid]
        repository.files["metadata/2.root.json"] = json.dumps(document).encode()
        client.refuses(TrustError)
    repository.files["metadata/2.root.json"] = sound
    assert client.look().versions["root"] == 2


@pytest.mark.parametrize("path", [MANIFEST, ROLLOUTS_PATH, f"halts/{FLEET}.json"])
def test_a_document_with_other_bytes_than_signed_is_refused(
    client: Client, repository: TufRepository, path: str
) -> None:
    leaf = path.rpartition("/")[2]
    served = next(
        name for name in repository.files if name.endswith(f".{leaf}") and path[:4] in name
    )
    sound = repository.files[served]
    for lie in (sound[:-1], sound + b" ", b"", sound.replace(b"1", b"2"), sound * 1000):
        repository.files[served] = lie
        client.refuses(TrustError)
    del repository.files[served]
    client.refuses(NotFoundError)


def test_the_wrong_target_under_the_right_name_is_refused(
    client: Client, repository: TufRepository
) -> None:
    other = replace(RELEASE, name="2026.1")
    repository.documents["releases"] = {MANIFEST: encode_release(other)}
    repository.publish()
    assert "calls itself 2026.1" in client.refuses_document(TrustError)


def test_the_rollouts_of_another_fleet_are_refused(
    client: Client, repository: TufRepository
) -> None:
    repository.documents["rollouts"] = {ROLLOUTS_PATH: encode_rollouts(Rollouts("wind", ()))}
    repository.publish()
    assert "another fleet" in client.refuses_document(TrustError)


def test_the_role_of_releases_cannot_sign_a_rollout(
    client: Client, repository: TufRepository
) -> None:
    forged = encode_rollouts(Rollouts(FLEET, (replace(ROLLOUT, id="forged"),)))
    repository.documents["releases"][ROLLOUTS_PATH] = forged
    repository.publish()
    assert client.look().rollouts == ROLLOUTS
    repository.documents["rollouts"] = {}
    repository.targets["rollouts"].targets.clear()
    repository.publish()
    assert ROLLOUTS_PATH in client.refuses_document(TrustError)


def test_the_role_of_releases_cannot_hand_rollouts_to_itself(
    client: Client, repository: TufRepository
) -> None:
    forged = encode_rollouts(Rollouts(FLEET, ()))
    delegations = repository.targets["targets"].delegations
    assert delegations is not None
    inner = DelegatedRole(
        "inner", [signer("releases").public_key.keyid], 1, terminating=True, paths=["rollouts/*"]
    )
    own = type(delegations)(
        {signer("releases").public_key.keyid: signer("releases").public_key}, {}
    )
    assert own.roles is not None
    own.roles["inner"] = inner
    repository.targets["releases"].delegations = own
    repository.targets["inner"] = type(repository.targets["halts"])(
        expires=repository.targets["halts"].expires
    )
    repository.keys["inner"] = ["releases"]
    repository.documents["inner"] = {ROLLOUTS_PATH: forged}
    repository.publish_targets("inner")
    repository.publish()
    assert client.look().rollouts == ROLLOUTS


def test_a_hybrid_role_needs_both_kinds_of_keys() -> None:
    hybrid = {
        role: [role, f"ml-dsa-{role}"] for role in ("root", "targets", "releases", "rollouts")
    }
    repository = make_repository(hybrid)
    client = make_client(repository)
    client.look()
    assert isinstance(signer("ml-dsa-root").public_key, Key)
    for role in ("targets", "releases", "rollouts"):
        for kind in (0, 1):
            repository.keys[role] = [hybrid[role][kind]]
            repository.publish()
            client.refuses_document(TrustError)
        repository.keys[role] = hybrid[role]
    repository.publish()
    assert client.look().versions["releases"] > 1


def test_a_mirror_that_has_nothing_is_a_matter_of_time(
    client: Client, repository: TufRepository
) -> None:
    repository.files.clear()
    client.refuses(NotFoundError)
