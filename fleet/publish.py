"""Publishes: verifies everything as a device would, and only then writes `public/`.

Files appear in an order in which nothing is named before it is there, and `timestamp.json` last, so a
cut leaves devices with the previous state, whole.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tuf.api.metadata import Root, Targets

from agent.strict import format_time
from fleet import files
from fleet.candidate import Candidate, assemble, is_due
from fleet.check import check_blobs, check_documents, check_roles
from fleet.keys import KeyFolders
from fleet.metadata import OFFLINE, STAGED, RoleName
from fleet.published import BLOBS, Published, read
from fleet.rehearsal import rehearse
from fleet.staging import Stage, restage, unchanged
from fleet.workspace import Workspace

WARN_BEFORE: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Publication:
    """What was published, or would be: new files in their order, and what to see to soon."""

    written: tuple[str, ...]
    versions: dict[RoleName, int]
    expires: dict[RoleName, datetime]
    warnings: tuple[str, ...]


def publish(
    workspace: Workspace,
    keys: KeyFolders,
    now: datetime,
    *,
    only: Collection[RoleName] = (),
    dry_run: bool = False,
) -> Publication:
    """Publish the stage, or with `only` these roles beside what is published of the others.

    `only` lets a halt out while a release still waits for signatures. Raises `TrustError`, with nothing
    written to `public/`, for anything that a device would refuse.
    """
    settings = workspace.settings()
    with files.locked(workspace.root):
        stage = Stage(workspace)
        if not dry_run:
            _renew_halts(stage, keys, now, only)
        candidate = assemble(stage, keys, now, only)
        check_roles(candidate, stage.published, now)
        releases = check_documents(candidate, settings.name)
        blobs = check_blobs(releases, workspace.stage, stage.published)
        rehearse(candidate, now)
        new = _new_files(candidate, stage.published)
        if not dry_run:
            for blob in blobs:
                files.link_or_copy(stage.blobs / blob, stage.published.blob(blob))
            for path, content in new.items():
                files.replace(workspace.public / path, content)
    return Publication(
        written=(*(f"{BLOBS}/{blob}" for blob in blobs), *new),
        versions={role: _signed(candidate, role).version for role in STAGED},
        expires={role: _signed(candidate, role).expires for role in STAGED},
        warnings=_warnings(candidate, now),
    )


def _renew_halts(stage: Stage, keys: KeyFolders, now: datetime, only: Collection[RoleName]) -> None:
    """Sign the halts anew in good time, when their online key is here."""
    if only and RoleName.HALTS not in only:
        return
    due = is_due(RoleName.HALTS, stage.targets(RoleName.HALTS).signed.expires, now)
    if due and stage.authorised(RoleName.HALTS).keys() & keys.signers(RoleName.HALTS).keys():
        restage(stage, RoleName.HALTS, keys, now, unchanged)


def _new_files(candidate: Candidate, published: Published) -> dict[str, bytes]:
    """What is not served yet, in the order in which it may appear."""
    return {
        path: content
        for path, content in candidate.files().items()
        if read(published.folder / path) != content
    }


def _signed(candidate: Candidate, role: RoleName) -> Root | Targets:
    return candidate.root().signed if role is RoleName.ROOT else candidate.targets(role).signed


def _warnings(candidate: Candidate, now: datetime) -> tuple[str, ...]:
    warnings = [
        f"{role} expires on {format_time(expires)}; run `lockgate-fleet sign {role} --renew` "
        "with its keys, then publish"
        for role in OFFLINE
        if (expires := _signed(candidate, role).expires) - now < WARN_BEFORE
    ]
    halts = _signed(candidate, RoleName.HALTS).expires
    if is_due(RoleName.HALTS, halts, now):
        warnings.append(
            f"halts expires on {format_time(halts)} and was not signed anew; publish where its "
            "online key is"
        )
    return tuple(warnings)
