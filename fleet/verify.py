"""Counts signatures as a device would, and says in one sentence what is missing. Pure."""

from dataclasses import dataclass

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp, VerificationResult

from agent.errors import TrustError
from fleet.keys import labels
from fleet.metadata import DELEGATED, RoleName

AnyMetadata = Metadata[Root] | Metadata[Targets] | Metadata[Snapshot] | Metadata[Timestamp]


@dataclass(frozen=True, slots=True)
class SigningStatus:
    """How far the signing of one version of a role has come.

    `threshold` of the keys in `signed` and `unsigned` are needed. `before` is set when the signatures
    of the root before this one are what is missing.
    """

    role: RoleName
    version: int
    threshold: int
    signed: tuple[Key, ...]
    unsigned: tuple[Key, ...]
    before: bool

    @property
    def complete(self) -> bool:
        """Whether devices will accept this version."""
        return len(self.signed) >= self.threshold

    @property
    def sentence(self) -> str:
        """What is there, and what to do for the rest."""
        root = " of the root before it" if self.before else ""
        if self.complete:
            keys = "signature" if len(self.signed) == 1 else "signatures"
            return (
                f"{self.role}: version {self.version} is signed "
                f"({len(self.signed)} {keys}, {self.threshold} needed)"
            )
        start = (
            f"{self.role}: version {self.version} is signed by {len(self.signed)} of "
            f"{self.threshold} keys{root}"
        )
        missing = self.threshold - len(self.signed)
        choice = "" if missing == len(self.unsigned) else f"{missing} of "
        return (
            f"{start}; still needed: {choice}{labels(self.unsigned)}; "
            f"run `lockgate-fleet sign {self.role} --keys DIR`"
        )


def signing_status(
    role: RoleName, metadata: AnyMetadata, delegator: Root | Targets, before: Root | None = None
) -> SigningStatus:
    """How far a role is signed, by what its delegator says; `before` is root's previous version.

    Raises `TrustError` when the delegator does not know the role.
    """
    result = _count(role, metadata, delegator)
    if before is None:
        return _status(role, metadata, result, before=False)
    previous = _count(role, metadata, before)
    if previous.verified:
        return _status(role, metadata, result, before=False)
    return _status(role, metadata, previous, before=True)


def _count(role: RoleName, metadata: AnyMetadata, delegator: Root | Targets) -> VerificationResult:
    try:
        return delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    except ValueError as error:
        raise TrustError(f"{role}: {delegator.type} does not name this role: {error}") from error


def _status(
    role: RoleName, metadata: AnyMetadata, result: VerificationResult, *, before: bool
) -> SigningStatus:
    return SigningStatus(
        role=role,
        version=metadata.signed.version,
        threshold=result.threshold,
        signed=tuple(result.signed.values()),
        unsigned=tuple(result.unsigned.values()),
        before=before,
    )


def keys_of(role: RoleName, delegator: Root | Targets) -> list[Key]:
    """The keys that may sign a role. Raises `TrustError`."""
    try:
        return [delegator.get_key(keyid) for keyid in delegator.get_delegated_role(role).keyids]
    except ValueError as error:
        raise TrustError(f"{role}: {delegator.type} does not name its keys: {error}") from error


def delegator_of(role: RoleName, root: Root, targets: Targets) -> Root | Targets:
    """Who says which keys sign this role."""
    return targets if role in DELEGATED else root


def is_signed_by(key: Key, metadata: AnyMetadata) -> bool:
    """Whether a valid signature by this key is there."""
    signature = metadata.signatures.get(key.keyid)
    if signature is None:
        return False
    try:
        key.verify_signature(signature, metadata.signed_bytes)
    except UnverifiedSignatureError:
        return False
    return True
