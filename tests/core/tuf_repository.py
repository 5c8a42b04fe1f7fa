"""A repository that signs with python-tuf's own metadata API, and can be made to lie in every role."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from agent.errors import NotFoundError
from agent.interfaces import ByteStream
from agent.release import encode_release, manifest_path
from agent.rollout import encode_halts, encode_rollouts, halts_path, rollouts_path
from agent.strict import format_time
from tests.core.samples import HALTS, NOON, RELEASE, ROLLOUTS

Kind = TypeVar("Kind", Root, Timestamp, Snapshot, Targets)
FLEET: Final = "water"
LIFETIME: Final = timedelta(days=7)
TOP: Final = ("root", "timestamp", "snapshot", "targets")
DELEGATED: Final = ("releases", "rollouts", "halts")
ROLES: Final = (*TOP, *DELEGATED)
MANIFEST: Final = manifest_path(RELEASE.name)
ROLLOUTS_PATH: Final = rollouts_path(FLEET)
HALTS_PATH: Final = halts_path(FLEET)


@cache
def signer(name: str) -> CryptoSigner:
    """The key of this name; of no value anywhere else."""
    if name.startswith("ml-dsa"):
        return CryptoSigner.generate_mldsa()
    seed = hashlib.sha256(name.encode()).digest()
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(seed))


@dataclass(slots=True)
class TufRepository:
    """A `Repository`. Change what it will sign, then `publish`; change `files` to lie without keys.

    `keys` are the names of those that sign for a role, whatever the role's delegation says.
    """

    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: dict[str, Targets]
    keys: dict[str, list[str]]
    documents: dict[str, dict[str, bytes]]
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    served_bytes: int = 0

    def open(self, path: str, offset: int, length_max: int) -> ByteStream:
        """What is served under this path, as much of it as was asked for."""
        self.asked.append(path)
        if path not in self.files:
            raise NotFoundError(f"{path}: not found")
        return _Stream(self, self.files[path][offset : offset + length_max])

    @property
    def root_of_trust(self) -> bytes:
        """The root that devices are made with."""
        return self.files["metadata/1.root.json"]

    def publish(self) -> None:
        """A new version of everything but root."""
        for role in DELEGATED:
            self.publish_targets(role)
        self.publish_targets("targets")
        self.publish_snapshot()
        self.publish_timestamp()

    def publish_root(self, *also: str) -> None:
        """A new version of root, signed by its keys and `also` by these."""
        self.root.version += 1
        content = _sign(self.root, [*self.keys["root"], *also])
        self.files[f"metadata/{self.root.version}.root.json"] = content

    def publish_targets(self, role: str) -> None:
        """A new version of one of the roles that sign targets, and of its documents."""
        signed = self.targets[role]
        signed.version += 1
        for path, content in self.documents.get(role, {}).items():
            target = TargetFile.from_data(path, content, ["sha256"])
            signed.targets[path] = target
            folder, _, name = path.rpartition("/")
            self.files[f"targets/{folder}/{target.hashes['sha256']}.{name}"] = content
        content = _sign(signed, self.keys[role])
        self.files[f"metadata/{signed.version}.{role}.json"] = content
        self.snapshot.meta[f"{role}.json"] = MetaFile(signed.version)

    def publish_snapshot(self) -> None:
        """A new snapshot of what is signed now."""
        self.snapshot.version += 1
        content = _sign(self.snapshot, self.keys["snapshot"])
        self.files[f"metadata/{self.snapshot.version}.snapshot.json"] = content
        self.timestamp.snapshot_meta = MetaFile(
            self.snapshot.version, len(content), {"sha256": hashlib.sha256(content).hexdigest()}
        )

    def publish_timestamp(self) -> None:
        """A new timestamp of the newest snapshot."""
        self.timestamp.version += 1
        self.files["metadata/timestamp.json"] = _sign(self.timestamp, self.keys["timestamp"])

    def rotate(self, role: str, *names: str) -> None:
        """Give a role of root other keys, by a new root that its own old and new keys sign."""
        old = self.keys[role]
        for name in old:
            self.root.revoke_key(signer(name).public_key.keyid, role)
        for name in names:
            self.root.add_key(signer(name).public_key, role)
        self.keys[role] = list(names)
        self.publish_root(*(old if role == "root" else ()))

    def set_expiry(self, role: str, expires: datetime) -> None:
        """When the next version of a role will be past its date."""
        self.role(role).expires = expires

    def role(self, role: str) -> Signed:
        """What is signed for a role."""
        named: dict[str, Signed] = {
            "root": self.root,
            "timestamp": self.timestamp,
            "snapshot": self.snapshot,
        }
        return named[role] if role in named else self.targets[role]

    def copy_files(self) -> dict[str, bytes]:
        """What is served now, to be served again when it is old."""
        return dict(self.files)


@dataclass(slots=True)
class _Stream:
    repository: TufRepository
    rest: bytes

    def read(self, length_max: int) -> bytes:
        """Some bytes; empty at the end."""
        part, self.rest = self.rest[:length_max], self.rest[length_max:]
        self.repository.served_bytes += len(part)
        return part

    def close(self) -> None:
        """Nothing is held."""


def make_repository(
    keys: dict[str, list[str]] | None = None, now: datetime = NOON
) -> TufRepository:
    """Every role at version 1 and published; each needs all of its keys, one unless told otherwise."""
    names = {role: [role] for role in ROLES} | (keys or {})
    expires = now + LIFETIME
    repository = TufRepository(
        root=Root(expires=expires, consistent_snapshot=True),
        timestamp=Timestamp(expires=expires),
        snapshot=Snapshot(expires=expires),
        targets={role: Targets(expires=expires) for role in ("targets", *DELEGATED)},
        keys=names,
        documents={
            "releases": {MANIFEST: encode_release(RELEASE)},
            "rollouts": {ROLLOUTS_PATH: encode_rollouts(ROLLOUTS)},
            "halts": {HALTS_PATH: encode_halts(HALTS)},
        },
    )
    for role in ROLES:
        repository.role(role).version = 0  # until it is published
    for role in TOP:
        for name in names[role]:
            repository.root.add_key(signer(name).public_key, role)
        repository.root.roles[role].threshold = len(names[role])
    repository.targets["targets"].delegations = _delegations(names)
    repository.timestamp.unrecognized_fields["x-signed-at"] = format_time(now)
    repository.publish_root()
    repository.publish()
    return repository


def _delegations(names: dict[str, list[str]]) -> Delegations:
    roles = {
        role: DelegatedRole(
            role,
            [signer(name).public_key.keyid for name in names[role]],
            len(names[role]),
            terminating=True,
            paths=[f"{role}/*"],
        )
        for role in DELEGATED
    }
    keys: dict[str, Key] = {
        signer(name).public_key.keyid: signer(name).public_key
        for role in DELEGATED
        for name in names[role]
    }
    return Delegations(keys, roles)


def _sign(signed: Kind, names: list[str]) -> bytes:
    metadata = Metadata(signed)
    for name in names:
        metadata.sign(signer(name), append=True)
    return metadata.to_bytes()
