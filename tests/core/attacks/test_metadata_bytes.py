"""Bytes that python-tuf alone would take, or take too long over."""

import pytest
from tuf.api.metadata import DelegatedRole, TargetFile

from agent.errors import TrustError
from tests.core.attacks.forgery import edit, newest, resign
from tests.core.clients import Client, make_client
from tests.core.tuf_repository import (
    ROLES,
    TufRepository,
    make_repository,
    signer,
)


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


def test_a_device_follows_as_many_roots_as_its_fleet_ever_signs(repository: TufRepository) -> None:
    client = make_client(repository)
    for number in (60, 60, 60):
        for _ in range(number):
            repository.publish_root()
        client.look()
    assert client.look().versions["root"] == 181


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
