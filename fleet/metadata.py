"""The TUF roles of a fleet and the documents they sign. Pure; TUF specification 1.0.34, section 4.

    root ── targets ── releases   releases/*    what a release is        offline
       │           ├── rollouts   rollouts/*    who gets it when         offline
       │           └── halts      halts/*       what must stop           online, one key
       ├── snapshot                             which versions belong together   online
       └── timestamp                            that these are the newest        online

All delegations are terminating. `snapshot.json` carries versions and no hashes, so that one more
signature under a role does not invalidate it. `timestamp.json` carries `x-signed-at`, from which a device
without a clock learns the date.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar

from securesystemslib.signer import Key, SSlibKey
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError

from agent.errors import TrustError
from agent.strict import format_time
from fleet.keys import is_post_quantum

SIGNED_AT: Final = "x-signed-at"
"""The field of `timestamp.json` that says when it was signed."""
METADATA_BYTES_MAX: Final = 1024 * 1024


class RoleName(StrEnum):
    """Every role; the four that TUF itself knows, and the three that targets delegates to."""

    ROOT = "root"
    TARGETS = "targets"
    RELEASES = "releases"
    ROLLOUTS = "rollouts"
    HALTS = "halts"
    SNAPSHOT = "snapshot"
    TIMESTAMP = "timestamp"


DELEGATED: Final = (RoleName.RELEASES, RoleName.ROLLOUTS, RoleName.HALTS)
LISTED: Final = (RoleName.TARGETS, *DELEGATED)
"""The roles whose versions the snapshot lists."""
STAGED: Final = (RoleName.ROOT, *LISTED)
"""The roles that are edited in the stage; the other two are made when publishing."""
OFFLINE: Final = (RoleName.ROOT, RoleName.TARGETS, RoleName.RELEASES, RoleName.ROLLOUTS)
LIFETIMES: Final[Mapping[RoleName, timedelta]] = MappingProxyType(
    {
        RoleName.ROOT: timedelta(days=365),
        RoleName.TARGETS: timedelta(days=365),
        RoleName.RELEASES: timedelta(days=180),
        RoleName.ROLLOUTS: timedelta(days=180),
        RoleName.HALTS: timedelta(days=30),
        RoleName.SNAPSHOT: timedelta(days=14),
        RoleName.TIMESTAMP: timedelta(days=7),
    }
)

Kind = TypeVar("Kind", Root, Targets, Snapshot, Timestamp)


def expiry(role: RoleName, now: datetime) -> datetime:
    """When a version of this role that is made now expires."""
    return (now + LIFETIMES[role]).replace(microsecond=0)


def decode(content: bytes, kind: type[Kind], source: str) -> Metadata[Kind]:
    """The metadata in these bytes; `source` names it in errors. Raises `TrustError`."""
    try:
        metadata: Metadata[Kind] = Metadata.from_bytes(content)
    except DeserializationError as error:
        raise TrustError(f"{source}: TUF metadata was expected: {error}") from error
    if not isinstance(metadata.signed, kind):
        raise TrustError(
            f"{source}: metadata of type {kind.type} was expected, {metadata.signed.type} found"
        )
    return metadata


def make_root(keys: Mapping[RoleName, tuple[list[SSlibKey], int]], now: datetime) -> Root:
    """Version 1 of root: for each of its four roles the keys and the threshold."""
    roles: dict[str, Role] = {}
    known: dict[str, Key] = {}
    for name, (role_keys, threshold) in keys.items():
        roles[name] = Role([key.keyid for key in role_keys], threshold)
        known |= {key.keyid: key for key in role_keys}
    return Root(
        version=1,
        expires=expiry(RoleName.ROOT, now),
        keys=known,
        roles=roles,
        consistent_snapshot=True,
    )


def make_targets(keys: Mapping[RoleName, tuple[list[SSlibKey], int]], now: datetime) -> Targets:
    """Version 1 of the top targets role: it lists nothing and delegates everything."""
    roles: dict[str, DelegatedRole] = {}
    known: dict[str, Key] = {}
    for name in DELEGATED:
        role_keys, threshold = keys[name]
        keyids = [key.keyid for key in role_keys]
        roles[name] = DelegatedRole(
            name, keyids, threshold, terminating=True, paths=[f"{name.value}/*"]
        )
        known |= {key.keyid: key for key in role_keys}
    return Targets(
        version=1,
        expires=expiry(RoleName.TARGETS, now),
        delegations=Delegations(keys=known, roles=roles),
    )


def make_delegated(role: RoleName, documents: Mapping[str, bytes], now: datetime) -> Targets:
    """Version 1 of a delegated role with these documents by path."""
    return Targets(
        version=1,
        expires=expiry(role, now),
        targets={path: target_file(path, content) for path, content in documents.items()},
    )


def target_file(path: str, content: bytes) -> TargetFile:
    """What metadata says of a document: its length and SHA-256."""
    return TargetFile(len(content), {"sha256": hashlib.sha256(content).hexdigest()}, path)


def make_snapshot(versions: Mapping[RoleName, int], version: int, now: datetime) -> Snapshot:
    """Which versions belong together."""
    meta = {f"{role.value}.json": MetaFile(number) for role, number in versions.items()}
    return Snapshot(version=version, expires=expiry(RoleName.SNAPSHOT, now), meta=meta)


def make_timestamp(
    snapshot: bytes, snapshot_version: int, version: int, now: datetime
) -> Timestamp:
    """Which snapshot is the newest, and when that was said."""
    hashes = {"sha256": hashlib.sha256(snapshot).hexdigest()}
    return Timestamp(
        version=version,
        expires=expiry(RoleName.TIMESTAMP, now),
        snapshot_meta=MetaFile(snapshot_version, length=len(snapshot), hashes=hashes),
        unrecognized_fields={SIGNED_AT: format_time(now)},
    )


def served_document(target: TargetFile) -> str:
    """Where a document is served: its hash stands before its name, as consistent snapshots want."""
    folder, _, name = target.path.rpartition("/")
    return f"targets/{folder}/{target.hashes['sha256']}.{name}"


def is_hybrid(keys: list[Key], threshold: int) -> bool:
    """Whether every accepted set of signatures holds both kinds of keys: e < t and m < t."""
    post_quantum = sum(is_post_quantum(key) for key in keys)
    return 0 < post_quantum < threshold and len(keys) - post_quantum < threshold
