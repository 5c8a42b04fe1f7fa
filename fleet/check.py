"""Looks at what is about to be published as a device will, and refuses the first thing that is wrong.

Every refusal is a `TrustError`, or one of its kinds, that says what to do. Nothing is written here.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import DelegatedRole, Root, Snapshot, TargetFile, Targets, Timestamp

from agent.errors import ExpiredError, RollbackError, TrustError
from agent.release import (
    MANIFEST_BYTES_MAX,
    Payload,
    Release,
    manifest_path,
    parse_release,
)
from agent.rollout import (
    DOCUMENT_BYTES_MAX,
    Rollouts,
    halts_path,
    parse_halts,
    parse_rollouts,
    rollouts_path,
)
from agent.strict import Refusal, format_time, load_json
from fleet.candidate import Candidate
from fleet.metadata import DELEGATED, LISTED, METADATA_BYTES_MAX, RoleName, decode, served_document
from fleet.published import BLOBS, Published
from fleet.verify import AnyMetadata, delegator_of, signing_status

LENGTHS_MAX: Final[Mapping[RoleName, int]] = MappingProxyType(
    {
        RoleName.ROOT: 128 * 1024,
        RoleName.SNAPSHOT: 256 * 1024,
        RoleName.TIMESTAMP: 16 * 1024,
    }
)
"""The longest metadata that devices take; one MiB for the other roles."""
NOTHING_PUBLISHED: Final = "nothing was published"
HASH_BYTES: Final = 1024 * 1024


def check_roles(candidate: Candidate, published: Published, now: datetime) -> None:
    """Every role is strict JSON, signed by enough keys, in date, and no step back."""
    root = candidate.root()
    targets = candidate.targets(RoleName.TARGETS)
    _check_root(candidate, root.signed)
    roles: dict[RoleName, tuple[AnyMetadata, bytes]] = {
        role: (candidate.targets(role), candidate.roles[role]) for role in LISTED
    }
    roles[RoleName.SNAPSHOT] = (
        decode(candidate.snapshot, Snapshot, "snapshot.json"),
        candidate.snapshot,
    )
    roles[RoleName.TIMESTAMP] = (
        decode(candidate.timestamp, Timestamp, "timestamp.json"),
        candidate.timestamp,
    )
    _check_form(RoleName.ROOT, root, candidate.roots[root.signed.version], now)
    for role, (metadata, content) in roles.items():
        status = signing_status(role, metadata, delegator_of(role, root.signed, targets.signed))
        if not status.complete:
            raise TrustError(f"{status.sentence}; {NOTHING_PUBLISHED}")
        _check_form(role, metadata, content, now)
        if role is not RoleName.TIMESTAMP:
            _check_step(role, metadata.signed.version, content, published)


def _check_root(candidate: Candidate, root: Root) -> None:
    """The newest root is signed by its own keys and by those of the root before it."""
    versions = sorted(candidate.roots)
    if versions != list(range(versions[0], versions[-1] + 1)):
        raise TrustError(
            f"root: versions without a gap were expected, {versions} found; {NOTHING_PUBLISHED}"
        )
    before = None
    if len(versions) > 1:
        before = decode(candidate.roots[versions[-2]], Root, f"{versions[-2]}.root.json").signed
    status = signing_status(RoleName.ROOT, candidate.root(), root, before)
    if not status.complete:
        raise TrustError(f"{status.sentence}; {NOTHING_PUBLISHED}")


def _check_form(role: RoleName, metadata: AnyMetadata, content: bytes, now: datetime) -> None:
    length_max = LENGTHS_MAX.get(role, METADATA_BYTES_MAX)
    load_json(content, length_max=length_max, refusal=Refusal(TrustError, f"{role}.json"))
    if metadata.signed.is_expired(now):
        raise ExpiredError(
            f"{role}: version {metadata.signed.version} expired on "
            f"{format_time(metadata.signed.expires)}; run `lockgate-fleet sign {role} --renew`; "
            f"{NOTHING_PUBLISHED}"
        )


def _check_step(role: RoleName, version: int, content: bytes, published: Published) -> None:
    newest = max(published.versions(role), default=0)
    if version < newest:
        raise RollbackError(
            f"{role}: version {newest} or later was expected, {version} found; devices refuse to "
            f"go back; run `lockgate-fleet sign {role} --renew`; {NOTHING_PUBLISHED}"
        )
    served = published.version(role, version)
    if served is not None and served != content:
        raise TrustError(
            f"{role}: version {version} is published already, with other content; "
            f"run `lockgate-fleet sign {role} --renew`; {NOTHING_PUBLISHED}"
        )


def check_documents(candidate: Candidate, fleet: str) -> tuple[Release, ...]:
    """Every document is whole, where it belongs, and in keeping with the others; the releases."""
    top = candidate.targets(RoleName.TARGETS).signed
    if top.targets:
        raise TrustError(
            f"targets: delegations and no documents were expected, {sorted(top.targets)} found; "
            f"{NOTHING_PUBLISHED}"
        )
    found = {role: _documents(candidate, role, top) for role in DELEGATED}
    _expect_one(RoleName.ROLLOUTS, found[RoleName.ROLLOUTS], rollouts_path(fleet))
    _expect_one(RoleName.HALTS, found[RoleName.HALTS], halts_path(fleet))
    releases = tuple(_release(path, content) for path, content in found[RoleName.RELEASES].items())
    if len({release.counter for release in releases}) != len(releases):
        raise TrustError(f"releases: two have the same counter; {NOTHING_PUBLISHED}")
    parse_halts(found[RoleName.HALTS][halts_path(fleet)], fleet)
    rollouts = parse_rollouts(found[RoleName.ROLLOUTS][rollouts_path(fleet)], fleet)
    _check_rollouts(rollouts, releases)
    return releases


def _documents(candidate: Candidate, role: RoleName, top: Targets) -> dict[str, bytes]:
    delegation = top.get_delegated_role(role)
    assert isinstance(delegation, DelegatedRole)
    found: dict[str, bytes] = {}
    for path, target in candidate.targets(role).signed.targets.items():
        if not delegation.is_delegated_path(path):
            raise TrustError(f"{role}: may not sign {path}; {NOTHING_PUBLISHED}")
        found[path] = _intact(target, candidate.documents[served_document(target)])
    return found


def _intact(target: TargetFile, content: bytes) -> bytes:
    length_max = max(MANIFEST_BYTES_MAX, DOCUMENT_BYTES_MAX)
    try:
        target.verify_length_and_hashes(content)
    except LengthOrHashMismatchError as error:
        raise TrustError(
            f"{target.path}: the bytes that were signed were expected, others found: {error}; "
            f"bring the document back or make it anew; {NOTHING_PUBLISHED}"
        ) from error
    if len(content) > length_max:
        raise TrustError(f"{target.path}: more than {length_max} bytes; {NOTHING_PUBLISHED}")
    return content


def _expect_one(role: RoleName, documents: Iterable[str], path: str) -> None:
    if list(documents) != [path]:
        raise TrustError(
            f"{role}: {path} and nothing else was expected, {sorted(documents)} found; "
            f"{NOTHING_PUBLISHED}"
        )


def _release(path: str, content: bytes) -> Release:
    release = parse_release(content)
    if manifest_path(release.name) != path:
        raise TrustError(f"{path}: the manifest calls itself {release.name!r}; {NOTHING_PUBLISHED}")
    return release


def _check_rollouts(rollouts: Rollouts, releases: tuple[Release, ...]) -> None:
    counters = {release.name: release.counter for release in releases}
    for rollout in rollouts.rollouts:
        if rollout.release not in counters:
            raise TrustError(
                f"rollout {rollout.id}: names release {rollout.release!r}, which is not among the "
                f"signed ones ({', '.join(counters) or 'none'}); {NOTHING_PUBLISHED}"
            )
        if counters[rollout.release] != rollout.counter:
            raise TrustError(
                f"rollout {rollout.id}: counter {counters[rollout.release]} of release "
                f"{rollout.release} was expected, {rollout.counter} found; {NOTHING_PUBLISHED}"
            )


def check_blobs(releases: Iterable[Release], stage: Path, published: Published) -> list[str]:
    """The blobs that are not served yet, each read and hashed once; those that are, by length."""
    new: dict[str, None] = {}
    for release in releases:
        for image in release.images:
            for payload in image.payloads:
                served = published.blob(payload.blob)
                if served.is_file() and served.stat().st_size == payload.length_bytes:
                    continue
                if payload.blob not in new:
                    _check_blob(stage / BLOBS / payload.blob, payload, release)
                new[payload.blob] = None
    return list(new)


def _check_blob(path: Path, payload: Payload, release: Release) -> None:
    try:
        length_bytes = path.stat().st_size
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TrustError(
            f"release {release.name}: its payload {path} is not there ({error.strerror}); bring it "
            f"back or add the release anew; {NOTHING_PUBLISHED}"
        ) from error
    if length_bytes != payload.length_bytes or found != payload.blob:
        raise TrustError(
            f"release {release.name}: a payload of {payload.length_bytes} bytes with SHA-256 "
            f"{payload.blob[:16]} was expected in {path}, {length_bytes} bytes with {found[:16]} "
            f"found; bring it back or add the release anew; {NOTHING_PUBLISHED}"
        )
