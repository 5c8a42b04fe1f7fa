"""Puts keys into roles and takes them out: at root, or in the delegations of targets."""

from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import Key
from tuf.api.metadata import Root, Targets

from agent.errors import ConfigError
from fleet import files
from fleet.keys import KeyFolders, KeyKind, generate, is_post_quantum, label, labels, save
from fleet.metadata import DELEGATED, STAGED, RoleName, is_hybrid
from fleet.staging import Stage, restage, restage_root, unchanged
from fleet.verify import SigningStatus, delegator_of, keys_of
from fleet.workspace import Workspace


@dataclass(frozen=True, slots=True)
class RoleKeys:
    """The keys of one role as the stage has them."""

    role: RoleName
    threshold: int
    keys: tuple[Key, ...]
    delegator: RoleName

    @property
    def hybrid(self) -> bool:
        """Whether no set of signatures of one kind alone is enough."""
        return is_hybrid(list(self.keys), self.threshold)


def role_keys(stage: Stage, role: RoleName) -> RoleKeys:
    """Who may sign a role, by the newest version of its delegator."""
    root, targets = stage.root().signed, stage.targets(RoleName.TARGETS).signed
    delegator = delegator_of(role, root, targets)
    return RoleKeys(
        role=role,
        threshold=delegator.get_delegated_role(role).threshold,
        keys=tuple(keys_of(role, delegator)),
        delegator=RoleName.TARGETS if role in DELEGATED else RoleName.ROOT,
    )


def all_keys(workspace: Workspace) -> tuple[RoleKeys, ...]:
    """Who may sign what."""
    stage = Stage(workspace)
    return tuple(role_keys(stage, role) for role in RoleName)


def add_key(
    workspace: Workspace,
    keys: KeyFolders,
    role: RoleName,
    key: Key,
    now: datetime,
    *,
    threshold: int | None = None,
) -> tuple[SigningStatus, ...]:
    """One more key for a role, perhaps with another threshold. Raises `ConfigError`."""
    with files.locked(workspace.root):
        stage = Stage(workspace)
        before = role_keys(stage, role)
        if key.keyid in {known.keyid for known in before.keys}:
            raise ConfigError(f"{role}: {label(key)} is one of its keys already")
        after = RoleKeys(role, threshold or before.threshold, (*before.keys, key), before.delegator)
        return _apply(stage, keys, before, after, now)


def rotate_key(
    workspace: Workspace,
    keys: KeyFolders,
    role: RoleName,
    key: Key,
    now: datetime,
    *,
    old: str | None = None,
) -> tuple[SigningStatus, ...]:
    """A new key in, an old one out; `old` is its label or id when the role has several.

    The file of the old key stays: a new root must be signed by keys of the root before it, and the
    present timestamp until that root is published. Raises `ConfigError`.
    """
    with files.locked(workspace.root):
        stage = Stage(workspace)
        before = role_keys(stage, role)
        leaving = choose(before, old)
        if key.keyid in {known.keyid for known in before.keys}:
            raise ConfigError(f"{role}: {label(key)} is one of its keys already")
        remaining = tuple(known for known in before.keys if known is not leaving)
        after = RoleKeys(role, before.threshold, (*remaining, key), before.delegator)
        return _apply(stage, keys, before, after, now)


def choose(role: RoleKeys, old: str | None) -> Key:
    """The key that is meant by a label or the start of an id. Raises `ConfigError`."""
    matches = [
        key for key in role.keys if not old or label(key) == old or key.keyid.startswith(old)
    ]
    if len(matches) != 1:
        raise ConfigError(
            f"{role.role}: one of its keys was expected with --old, of: {labels(role.keys)}"
        )
    return matches[0]


def new_key(
    workspace: Workspace, role: RoleName, kind: KeyKind, folder: KeyFolders | None = None
) -> Key:
    """Make a private key for a role, in `keys/ROLE` or the first of these folders."""
    signer = generate(kind)
    base = folder.folders[0] if folder else workspace.keys
    save(base / role.value, signer)
    return signer.public_key


def kind_of(key: Key) -> KeyKind:
    """The kind of key that takes this one's place."""
    return KeyKind.ML_DSA_65 if is_post_quantum(key) else KeyKind.ED25519


def renew(workspace: Workspace, keys: KeyFolders, role: RoleName, now: datetime) -> SigningStatus:
    """The same content with a new version and a new date, signed with the keys that are found."""
    with files.locked(workspace.root):
        stage = Stage(workspace)
        if role is RoleName.ROOT:
            return restage_root(stage, keys, now, unchanged)
        if role not in STAGED:
            raise ConfigError(f"{role}: `lockgate-fleet publish` signs it each time")
        return restage(stage, role, keys, now, unchanged)


def _apply(
    stage: Stage, keys: KeyFolders, before: RoleKeys, after: RoleKeys, now: datetime
) -> tuple[SigningStatus, ...]:
    """Write the new keys where they are named, then sign anew what they sign.

    A cut between leaves a role that `sign ROLE --renew` completes; nothing is published before.
    """
    _check_threshold(before, after)
    for signing in (
        after.delegator,
        after.role,
    ):  # a key that cannot be read is found before a change
        keys.signers(signing)

    def change(signed: Root | Targets) -> None:
        for key in after.keys:
            signed.add_key(key, after.role)
        for key in before.keys:
            if key.keyid not in {kept.keyid for kept in after.keys}:
                signed.revoke_key(key.keyid, after.role)
        signed.get_delegated_role(after.role).threshold = after.threshold

    if after.delegator is RoleName.ROOT:
        statuses = [restage_root(stage, keys, now, change)]
    else:
        statuses = [restage(stage, after.delegator, keys, now, change)]
    if after.role in STAGED and after.role is not RoleName.ROOT:
        # Devices refuse what only the old key signed, so the role itself is signed anew.
        statuses.append(restage(stage, after.role, keys, now, unchanged))
    return tuple(statuses)


def _check_threshold(before: RoleKeys, after: RoleKeys) -> None:
    if not 1 <= after.threshold <= len(after.keys):
        raise ConfigError(
            f"--threshold: 1 to {len(after.keys)}, the number of keys, was expected, "
            f"{after.threshold} found"
        )
    if before.hybrid and not after.hybrid:
        post_quantum = sum(is_post_quantum(key) for key in after.keys)
        least = max(post_quantum, len(after.keys) - post_quantum) + 1
        raise ConfigError(
            f"{after.role}: signatures of both kinds are needed now, and would not be with "
            f"{labels(after.keys)} and threshold {after.threshold}; "
            f"say --threshold {least}, or choose a key of the other kind"
        )
