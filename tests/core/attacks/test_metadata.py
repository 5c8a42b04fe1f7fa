"""A mirror, or whoever holds some of the keys, against the device's view of its fleet."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from securesystemslib.exceptions import FormatError
from securesystemslib.formats import encode_canonical
from tuf.api.metadata import DelegatedRole, Key, MetaFile, TargetFile

from agent.errors import FetchError, NotFoundError, RollbackError, TrustError
from agent.release import encode_release
from agent.rollout import Rollouts, encode_rollouts
from tests.core.clients import Client, make_client
from tests.core.samples import HALTS, RELEASE, ROLLOUT, ROLLOUTS
from tests.core.tuf_repository import (
    DELEGATED,
    FLEET,
    MANIFEST,
    ROLES,
    ROLLOUTS_PATH,
    TufRepository,
    make_repository,
    signer,
)

DAY = timedelta(days=1)


@pytest.fixture
def repository() -> TufRepository:
    return make_repository()


@pytest.fixture
def client(repository: TufRepository) -> Client:
    """A device that has seen version 1 of everything."""
    made = make_client(repository)
    made.look()
    return made


def newest(repository: TufRepository, role: str) -> str:
    """The path of the newest file of a role."""
    if role == "timestamp":
        return "metadata/timestamp.json"
    return f"metadata/{repository.role(role).version}.{role}.json"


def edit(repository: TufRepository, role: str, change: Callable[[dict[str, object]], None]) -> None:
    """Change a role's newest file without any key."""
    path = newest(repository, role)
    document = json.loads(repository.files[path])
    change(document)
    repository.files[path] = json.dumps(document).encode()


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


def test_an_endless_document_is_not_read_beyond_its_signed_length(
    client: Client, repository: TufRepository
) -> None:
    served = next(name for name in repository.files if name.startswith("targets/releases"))
    length = len(repository.files[served])
    repository.files[served] += b" " * 10_000_000
    repository.served_bytes = 0
    client.refuses(TrustError)
    metadata = sum(len(repository.files[newest(repository, role)]) for role in ROLES)
    assert repository.served_bytes <= length + 1 + metadata


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


def test_a_path_is_asked_for_as_signed_and_never_becomes_a_local_name(
    repository: TufRepository,
) -> None:
    names = ["../../etc/passwd", "/etc/passwd", "..", "releases/../x", "releases/\u202e", "a\nb"]
    for name in names:
        repository.targets["releases"].targets[name] = TargetFile.from_data(name, b"x", ["sha256"])
    repository.publish()
    client = make_client(repository)
    client.look()
    assert all(name.count("/") <= 1 and ".." not in name for name in client.files.content)


def with_text(repository: TufRepository, role: str, old: bytes, new: bytes) -> None:
    path = newest(repository, role)
    assert old in repository.files[path]
    repository.files[path] = repository.files[path].replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"version":2', b'"version":2,"version":2'),
        (b'"version":2', b'"version":2.0'),
        (b'"version":2', b'"version":true'),
        (b'"version":2', b'"version":NaN'),
        (b'"version":2', b'"version":' + b"9" * 5000),
        (b'"version":2', b'"version":-2'),
        (b'"version":2', b'"version":' + b"[" * 50_000 + b"]" * 50_000),
        (b'"version":2', b'"x":"\\ud800","version":2'),
        (b'"version":2', b'"x":"' + b'\\"' * 6000 + b'","version":2'),
        (b"{", b"\xef\xbb\xbf{"),
        (b"{", b""),
        (b"}", b"} "),
    ],
    ids=[
        "duplicate key",
        "float",
        "true",
        "NaN",
        "5000 digits",
        "negative",
        "50000 deep",
        "surrogate",
        "quotes",
        "byte-order mark",
        "no object",
        "cut",
    ],
)
def test_a_timestamp_that_is_no_strict_json_is_refused(
    client: Client, repository: TufRepository, old: bytes, new: bytes
) -> None:
    repository.publish()
    with_text(repository, "timestamp", old, new)
    if new == b"} ":
        repository.files["metadata/timestamp.json"] = repository.files["metadata/timestamp.json"][
            :-2
        ]
    client.refuses(TrustError)


@pytest.mark.parametrize("threshold", [b"true", b"1.0", b"0", b"-1", b'"1"', b"null", b"9" * 30])
def test_a_threshold_that_is_no_positive_integer_is_refused_although_it_is_signed(
    threshold: bytes,
) -> None:
    for role in ("root", "targets"):
        repository = make_repository()
        client = make_client(repository)
        client.look()
        repository.publish_root()
        repository.publish()
        path = newest(repository, role)
        document = repository.files[path].replace(b'"threshold":1', b'"threshold":' + threshold, 1)
        assert document != repository.files[path]
        repository.files[path] = resign(document, role)
        client.refuses_document(TrustError)


def resign(content: bytes, role: str) -> bytes:
    """The same file with a good signature over whatever it says, when it can be said at all."""
    document = json.loads(content)
    try:
        canonical = encode_canonical(document["signed"])
    except FormatError:
        return content
    if canonical is None:
        return content
    signature = signer(role).sign(canonical.encode())
    document["signatures"] = [{"keyid": signature.keyid, "sig": signature.signature}]
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("path", "length"),
    [
        ("metadata/2.root.json", 131_072),
        ("metadata/timestamp.json", 16_384),
        ("metadata/2.snapshot.json", 262_144),
        ("metadata/2.targets.json", 1_048_576),
        ("metadata/2.rollouts.json", 1_048_576),
    ],
)
def test_endless_metadata_is_read_up_to_its_limit(
    client: Client, repository: TufRepository, path: str, length: int
) -> None:
    repository.publish()
    repository.files[path] = b'{"a":"' + b"x" * 5_000_000
    repository.served_bytes = 0
    client.refuses_document(TrustError)
    assert repository.served_bytes <= length + 100_000


def test_roots_without_end_are_followed_for_a_bounded_time(repository: TufRepository) -> None:
    client = make_client(repository)
    for _ in range(80):
        repository.publish_root()
    repository.asked.clear()
    client.look()
    assert sum("root" in path for path in repository.asked) <= 65


def test_delegations_without_end_are_followed_for_a_bounded_time(
    repository: TufRepository,
) -> None:
    delegations = repository.targets["targets"].delegations
    assert delegations is not None
    assert delegations.roles is not None
    keyid = signer("releases").public_key.keyid
    for number in range(50):
        name = f"vendor-{number}"
        delegations.roles[name] = DelegatedRole(name, [keyid], 1, terminating=False, paths=["*/*"])
        repository.targets[name] = type(repository.targets["halts"])(
            expires=repository.targets["halts"].expires
        )
        repository.keys[name] = ["releases"]
        repository.publish_targets(name)
    delegations.roles = dict(reversed(delegations.roles.items()))
    repository.publish()
    client = make_client(repository)
    repository.asked.clear()
    with pytest.raises(TrustError):
        client.look()
    assert sum("vendor" in path for path in repository.asked) <= 8 + 1


def test_a_key_of_a_type_that_nobody_knows_is_refused_by_name_and_not_by_a_crash(
    client: Client, repository: TufRepository
) -> None:
    repository.publish_root()

    def stranger(document: dict[str, object]) -> None:
        signed = document["signed"]
        assert isinstance(signed, dict)
        key = next(iter(signed["keys"].values()))
        signed["keys"]["ab" * 32] = {**key, "keytype": "quantum", "scheme": "quantum-1"}

    edit(repository, "root", stranger)
    path = "metadata/2.root.json"
    repository.files[path] = resign(repository.files[path], "root")
    client.refuses(TrustError)


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
