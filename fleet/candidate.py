"""What is about to be published: the staged roles, and a snapshot and a timestamp made for them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from agent.errors import TrustError
from fleet.keys import KeyFolders, labels
from fleet.metadata import (
    DELEGATED,
    LIFETIMES,
    LISTED,
    RoleName,
    decode,
    make_snapshot,
    make_timestamp,
    served_document,
)
from fleet.published import TIMESTAMP_FILE, versioned
from fleet.staging import ROOT_OF_TRUST, Stage
from fleet.verify import keys_of, signing_status

RENEW_AT: Final = 0.5
"""The part of its lifetime after which an online role is signed anew though nothing changed."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Every file of metadata and every document that devices would see, as bytes."""

    root_of_trust: bytes
    roots: Mapping[int, bytes]
    roles: Mapping[RoleName, bytes]
    snapshot: bytes
    timestamp: bytes
    documents: Mapping[str, bytes]

    def root(self) -> Metadata[Root]:
        """The newest root."""
        return decode(self.roots[max(self.roots)], Root, "root.json")

    def targets(self, role: RoleName) -> Metadata[Targets]:
        """One of the roles that the snapshot lists."""
        return decode(self.roles[role], Targets, f"{role}.json")

    def files(self) -> dict[str, bytes]:
        """All files by served path, in the order in which they may appear.

        Nothing names a file before it is there. Root comes late because it may change the keys of
        the timestamp, which is last.
        """
        listed = {
            versioned(role, self.targets(role).signed.version): content
            for role, content in self.roles.items()
        }
        snapshot = decode(self.snapshot, Snapshot, "snapshot.json").signed.version
        return {
            **self.documents,
            **listed,
            versioned(RoleName.SNAPSHOT, snapshot): self.snapshot,
            **{
                versioned(RoleName.ROOT, number): self.roots[number]
                for number in sorted(self.roots)
            },
            f"metadata/{TIMESTAMP_FILE}": self.timestamp,
        }


def assemble(
    stage: Stage, keys: KeyFolders, now: datetime, only: Collection[RoleName]
) -> Candidate:
    """The newest versions, or with `only` the newest of these roles and the published rest.

    Raises `TrustError` when a key for the snapshot or the timestamp is missing.
    """
    roots = _roots(stage, only)
    root = decode(roots[max(roots)], Root, "root.json").signed
    roles = {role: _listed(stage, role, only) for role in LISTED}
    documents: dict[str, bytes] = {}
    for role in DELEGATED:
        for target in decode(roles[role], Targets, f"{role}.json").signed.targets.values():
            documents[served_document(target)] = stage.document(target)
    snapshot = _snapshot(stage, root, roles, keys, now)
    return Candidate(
        root_of_trust=stage.root_of_trust(),
        roots=roots,
        roles=roles,
        snapshot=snapshot,
        timestamp=_timestamp(stage, root, snapshot, keys, now),
        documents=documents,
    )


def _roots(stage: Stage, only: Collection[RoleName]) -> dict[int, bytes]:
    """Every root from the root of trust on."""
    first = decode(stage.root_of_trust(), Root, ROOT_OF_TRUST).signed.version
    roots = {first: stage.root_of_trust()}
    for version in stage.published.versions(RoleName.ROOT):
        content = stage.published.version(RoleName.ROOT, version)
        if content is not None:
            roots[version] = content
    newest = stage.root().signed.version
    if newest not in roots and (not only or RoleName.ROOT in only):
        roots[newest] = stage.content(RoleName.ROOT)
    return roots


def _listed(stage: Stage, role: RoleName, only: Collection[RoleName]) -> bytes:
    published = stage.published.current(role)
    if published is not None and only and role not in only:
        return published
    staged = stage.targets(role)
    served = stage.published.version(role, staged.signed.version)
    if served is not None:
        before = decode(served, Targets, versioned(role, staged.signed.version))
        if before.signed_bytes == staged.signed_bytes:
            return served  # signatures beyond the threshold change nothing for devices
    return stage.content(role)


def _snapshot(
    stage: Stage,
    root: Root,
    roles: Mapping[RoleName, bytes],
    keys: KeyFolders,
    now: datetime,
) -> bytes:
    """The published snapshot while it still fits, else a new one."""
    versions = {
        role: decode(content, Targets, f"{role}.json").signed.version
        for role, content in roles.items()
    }
    content = stage.published.snapshot_bytes()
    if content is not None:
        published = decode(content, Snapshot, "snapshot.json")
        listed = {name: meta.version for name, meta in published.signed.meta.items()}
        fits = listed == {f"{role}.json": version for role, version in versions.items()}
        signed = signing_status(RoleName.SNAPSHOT, published, root).complete
        if fits and signed and not is_due(RoleName.SNAPSHOT, published.signed.expires, now):
            return content
    number = max(stage.published.versions(RoleName.SNAPSHOT), default=0) + 1
    metadata: Metadata[Snapshot] = Metadata(make_snapshot(versions, number, now))
    _sign_online(RoleName.SNAPSHOT, metadata, root, keys)
    return metadata.to_bytes()


def _timestamp(stage: Stage, root: Root, snapshot: bytes, keys: KeyFolders, now: datetime) -> bytes:
    published = stage.published.timestamp()
    number = 1 if published is None else published.signed.version + 1
    snapshot_version = decode(snapshot, Snapshot, "snapshot.json").signed.version
    metadata: Metadata[Timestamp] = Metadata(
        make_timestamp(snapshot, snapshot_version, number, now)
    )
    _sign_online(RoleName.TIMESTAMP, metadata, root, keys)
    return metadata.to_bytes()


def is_due(role: RoleName, expires: datetime, now: datetime) -> bool:
    """Whether so much of an online role's lifetime has passed that it should be signed anew."""
    left: timedelta = expires - now
    return left < LIFETIMES[role] * RENEW_AT


def _sign_online(
    role: RoleName,
    metadata: Metadata[Snapshot] | Metadata[Timestamp],
    root: Root,
    keys: KeyFolders,
) -> None:
    wanted = {key.keyid: key for key in keys_of(role, root)}
    signers = keys.signers(role)
    for keyid in sorted(wanted.keys() & signers.keys()):
        metadata.sign(signers[keyid], append=True)
    if not signing_status(role, metadata, root).complete:
        raise TrustError(
            f"{role}: the private key {labels(wanted.values())} was expected in {keys}, not found; "
            "name its folder with --keys"
        )
