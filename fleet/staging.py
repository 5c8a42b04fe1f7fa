"""The stage: the newest version of every role and document, signed or not yet.

    stage/root_of_trust.json         the first root, what devices are made with
    stage/metadata/ROLE.json         the newest version of root and of the roles that list documents
    stage/targets/DIR/SHA256.FILE    documents by hash, as they will be served
    stage/blobs/SHA256               payloads

Documents and blobs are written before the metadata that names them, so a cut leaves at most a file
that nothing names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from agent.errors import ConfigError, TrustError
from fleet import files
from fleet.keys import KeyFolders
from fleet.metadata import (
    LISTED,
    STAGED,
    RoleName,
    decode,
    expiry,
    served_document,
    target_file,
)
from fleet.published import BLOBS, Published, read
from fleet.verify import (
    AnyMetadata,
    SigningStatus,
    delegator_of,
    is_signed_by,
    keys_of,
    signing_status,
)
from fleet.workspace import Workspace

ROOT_OF_TRUST: Final = "root_of_trust.json"


@dataclass(frozen=True, slots=True)
class Stage:
    """The stage of one workspace. Raises `ConfigError` for a workspace without one."""

    workspace: Workspace

    @property
    def published(self) -> Published:
        """What devices can fetch now."""
        return Published(self.workspace.public)

    @property
    def blobs(self) -> Path:
        """The folder of payloads."""
        return self.workspace.stage / BLOBS

    def path(self, role: RoleName) -> Path:
        """Where the newest version of a role lies."""
        return self.workspace.stage / "metadata" / f"{role.value}.json"

    def content(self, role: RoleName) -> bytes:
        """The newest version of a role as it will be served."""
        return self._read(self.path(role))

    def _read(self, path: Path) -> bytes:
        content = read(path)
        if content is None:
            raise ConfigError(
                f"{path}: not found; run `lockgate-fleet init` here, or name a folder with --dir"
            )
        return content

    def root_of_trust(self) -> bytes:
        """The first root, with which devices are made."""
        return self._read(self.workspace.stage / ROOT_OF_TRUST)

    def root(self) -> Metadata[Root]:
        """The newest root, published or not."""
        return decode(self.content(RoleName.ROOT), Root, str(self.path(RoleName.ROOT)))

    def root_in_effect(self) -> Metadata[Root]:
        """The root that devices have now: the newest published one, else the root of trust."""
        published = self.published.newest_root()
        return published or decode(self.root_of_trust(), Root, ROOT_OF_TRUST)

    def targets(self, role: RoleName) -> Metadata[Targets]:
        """The newest version of targets or of one of its delegated roles."""
        return decode(self.content(role), Targets, str(self.path(role)))

    def document(self, target: TargetFile) -> bytes:
        """The document that metadata means, from here or from what is published."""
        content = read(self.workspace.stage / served_document(target))
        if content is None:
            content = self.published.document(target)
        if content is None:
            raise TrustError(
                f"{target.path}: signed, but the document is not in the stage any more"
            )
        return content

    def put_document(self, path: str, content: bytes) -> TargetFile:
        """Store a document; nothing names it before the returned target is in a role."""
        target = target_file(path, content)
        files.replace(self.workspace.stage / served_document(target), content)
        return target

    def put(self, role: RoleName, metadata: AnyMetadata) -> None:
        """Store the newest version of a role."""
        files.replace(self.path(role), metadata.to_bytes())

    def previous_root(self, root: Root) -> Root | None:
        """The root in effect, if this one is to follow it."""
        in_effect = self.root_in_effect().signed
        return in_effect if in_effect.version < root.version else None

    def authorised(self, role: RoleName) -> dict[str, Key]:
        """Keys whose signatures count: for a new root also those of the root before it."""
        root = self.root().signed
        keys = keys_of(role, delegator_of(role, root, self.targets(RoleName.TARGETS).signed))
        if role is RoleName.ROOT:
            keys += keys_of(role, self.root_in_effect().signed)
        return {key.keyid: key for key in keys}

    def status(self, role: RoleName) -> SigningStatus:
        """How far the newest version of a role is signed."""
        root = self.root()
        if role is RoleName.ROOT:
            return signing_status(role, root, root.signed, self.previous_root(root.signed))
        targets = self.targets(RoleName.TARGETS)
        delegator = delegator_of(role, root.signed, targets.signed)
        return signing_status(role, self.targets(role), delegator)

    def statuses(self) -> tuple[SigningStatus, ...]:
        """How far each staged role is signed."""
        return tuple(self.status(role) for role in STAGED)


def restage(
    stage: Stage,
    role: RoleName,
    keys: KeyFolders,
    now: datetime,
    change: Callable[[Targets], None],
) -> SigningStatus:
    """Make a new version of targets or of a delegated role, signed with the keys that are found."""
    assert role in LISTED, role
    metadata = stage.targets(role)
    published = stage.published.versions(role)
    change(metadata.signed)
    metadata.signed.version = max((metadata.signed.version, *published)) + 1
    metadata.signed.expires = expiry(role, now)
    return _sign_anew(stage, role, metadata, keys)


def restage_root(
    stage: Stage, keys: KeyFolders, now: datetime, change: Callable[[Root], None]
) -> SigningStatus:
    """Make the root that follows the one in effect, from the newest one."""
    metadata = stage.root()
    change(metadata.signed)
    # Versions of root have no gaps, so an unpublished one is replaced instead of followed.
    metadata.signed.version = stage.root_in_effect().signed.version + 1
    metadata.signed.expires = expiry(RoleName.ROOT, now)
    return _sign_anew(stage, RoleName.ROOT, metadata, keys)


def unchanged(signed: Root | Targets) -> None:
    """The change that only renews: a new version, a new date, new signatures."""
    assert signed.version > 0


def _sign_anew(
    stage: Stage, role: RoleName, metadata: Metadata[Root] | Metadata[Targets], keys: KeyFolders
) -> SigningStatus:
    keys.signers(role)  # a key that cannot be read is found before anything is changed
    metadata.signatures.clear()
    stage.put(role, metadata)
    return countersign(stage, role, keys)


def countersign(stage: Stage, role: RoleName, keys: KeyFolders) -> SigningStatus:
    """Add the signatures of the found keys that count and are missing; nothing else changes."""
    metadata = stage.root() if role is RoleName.ROOT else stage.targets(role)
    wanted = stage.authorised(role)
    signers = keys.signers(role)
    for keyid in sorted(wanted.keys() & signers.keys()):
        if not is_signed_by(wanted[keyid], metadata):
            metadata.sign(signers[keyid], append=True)
    stage.put(role, metadata)
    return stage.status(role)
