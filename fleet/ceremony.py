"""Signatures that are made elsewhere: on a copy that was carried to the machine with the key.

Two people may sign two copies at the same time; `merge` brings their signatures together.
"""

from pathlib import Path

from tuf.api.metadata import Metadata, Root, Targets

from agent.errors import ConfigError, TrustError
from agent.strict import format_time
from fleet import files
from fleet.keys import KeyFolders, label, labels
from fleet.metadata import METADATA_BYTES_MAX, STAGED, RoleName, decode
from fleet.staging import Stage, countersign
from fleet.verify import SigningStatus, is_signed_by, keys_of
from fleet.workspace import Workspace


def sign_staged(workspace: Workspace, keys: KeyFolders, role: RoleName) -> SigningStatus:
    """Add the signatures of the found keys to the staged role and change nothing else.

    Raises `ConfigError` when no key is found that may sign it.
    """
    _check_role(role)
    with files.locked(workspace.root):
        stage = Stage(workspace)
        wanted = stage.authorised(role)
        if not wanted.keys() & keys.signers(role).keys():
            raise ConfigError(
                f"{role}: the private key of one of {labels(wanted.values())} was expected in {keys}, "
                "not found; name its folder with --keys"
            )
        return countersign(stage, role, keys)


def sign_file(path: Path, keys: KeyFolders, role: RoleName) -> tuple[str, ...]:
    """Add the signatures of the found keys to a carried file; the labels of those that were added.

    Needs no workspace. Which keys count, only the delegator says, so every key that is found for the
    role signs; for root, which names its own keys, those that it names. Raises `ConfigError`.
    """
    metadata = _load(path, role)
    signers = keys.signers(role)
    if isinstance(metadata.signed, Root):
        named = {key.keyid for key in keys_of(role, metadata.signed)}
        signers = {keyid: signer for keyid, signer in signers.items() if keyid in named} or signers
    added: list[str] = []
    for signer in signers.values():
        if not is_signed_by(signer.public_key, metadata):
            metadata.sign(signer, append=True)
            added.append(label(signer.public_key))
    if not signers:
        raise ConfigError(
            f"{role}: no private key was found in {keys}; name its folder with --keys"
        )
    files.replace(path, metadata.to_bytes())
    return tuple(added)


def merge(workspace: Workspace, role: RoleName, path: Path) -> SigningStatus:
    """Add the valid signatures of a carried copy to the staged role. Raises `TrustError`.

    The copy must say the same as the staged file: signatures alone travel back.
    """
    other = _load(path, role)
    with files.locked(workspace.root):
        stage = Stage(workspace)
        staged = stage.root() if role is RoleName.ROOT else stage.targets(role)
        if other.signed_bytes != staged.signed_bytes:
            raise TrustError(
                f"{path}: the content of the staged {role}, version {staged.signed.version}, was "
                f"expected; this is version {other.signed.version} with other content. "
                f"Carry {stage.path(role)} again"
            )
        for key in stage.authorised(role).values():
            if is_signed_by(key, other) and not is_signed_by(key, staged):
                staged.signatures[key.keyid] = other.signatures[key.keyid]
        stage.put(role, staged)
        return stage.status(role)


def describe(path: Path, role: RoleName) -> tuple[str, ...]:
    """What a signature on this file would say, in lines that a person can compare."""
    signed = _load(path, role).signed
    lines = [f"{role}: version {signed.version}, expires {format_time(signed.expires)}"]
    if isinstance(signed, Targets):
        lines += [
            f"  {target.path}  SHA-256 {target.hashes.get('sha256', '?')}"
            for target in signed.targets.values()
        ]
        delegations = signed.delegations.roles if signed.delegations else None
        names: dict[str, int] = {
            name: delegated.threshold for name, delegated in (delegations or {}).items()
        }
    else:
        names = {name: delegated.threshold for name, delegated in signed.roles.items()}
    for name, threshold in names.items():
        keys = ", ".join(sorted(label(key) for key in keys_of(RoleName(name), signed)))
        lines.append(f"  {name}: {threshold} of {keys}")
    return tuple(lines)


def _check_role(role: RoleName) -> None:
    if role not in STAGED:
        raise ConfigError(f"{role}: `lockgate-fleet publish` signs it each time")


def _load(path: Path, role: RoleName) -> Metadata[Root] | Metadata[Targets]:
    _check_role(role)
    try:
        with path.open("rb") as file:
            content = file.read(METADATA_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > METADATA_BYTES_MAX:
        raise ConfigError(f"{path}: at most {METADATA_BYTES_MAX} bytes were expected")
    if role is RoleName.ROOT:
        return decode(content, Root, str(path))
    return decode(content, Targets, str(path))
