"""Trusted documents: a TUF refresh through python-tuf, with our own fetcher, time, floor and memory.

python-tuf runs on a scratch copy in memory. What it verified is made durable through `Files` only after
the floor agreed, so a cut leaves either state whole; losing all of it costs a refresh from the root of
trust, and the floor still stands.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from agent.errors import ExpiredError, FetchError, NotFoundError, RollbackError, TrustError
from agent.floor import RoleFloor
from agent.interfaces import Files, Repository, Scratch
from agent.release import MANIFEST_BYTES_MAX, Release, manifest_path, parse_release
from agent.rollout import (
    DOCUMENT_BYTES_MAX,
    Halts,
    Rollouts,
    halts_path,
    parse_halts,
    parse_rollouts,
    rollouts_path,
)
from agent.strict import TIME_FORMAT, Refusal, load_json

if TYPE_CHECKING:  # tuf costs 25 MiB and 0.1 s: it is imported when there is something to verify
    from tuf.api.metadata import TargetFile
    from tuf.ngclient import Updater

METADATA_BASE: Final = "metadata/"
TARGETS_BASE: Final = "targets/"
CACHE_FOLDERS: Final = ("metadata", "root_history")
METADATA_BYTES_MAX: Final = 1024 * 1024
READ_BYTES: Final = 64 * 1024
SIGNED_AT: Final = "x-signed-at"
"""Our field in the timestamp role: when it was signed, hence a date that is past."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one session verified, for the floor."""

    roles: dict[str, RoleFloor]
    signed_at: datetime


class MetadataSession:
    """One verified view of the repository; every document is checked when it is asked for."""

    def __init__(self, updater: "Updater", repository: Repository, fleet: str) -> None:
        self._updater = updater
        self._repository = repository
        self._fleet = fleet

    def rollouts(self) -> Rollouts:
        """The fleet's rollouts. Raises `TrustError`, `FetchError`."""
        content = self._target(rollouts_path(self._fleet), DOCUMENT_BYTES_MAX)
        return parse_rollouts(content, self._fleet)

    def halts(self) -> Halts:
        """The fleet's halts. Raises `TrustError`, `FetchError`."""
        return parse_halts(self._target(halts_path(self._fleet), DOCUMENT_BYTES_MAX), self._fleet)

    def release(self, name: str) -> tuple[Release, str]:
        """The release of this name and its manifest's SHA-256. Raises `TrustError`, `FetchError`."""
        content = self._target(manifest_path(name), MANIFEST_BYTES_MAX)
        release = parse_release(content)
        if release.name != name:
            raise TrustError(
                f"release manifest {name}: it calls itself {release.name}; sign it anew"
            )
        return release, hashlib.sha256(content).hexdigest()

    def _target(self, path: str, length_max: int) -> bytes:
        with _translated():
            info = self._updater.get_targetinfo(path)
        if info is None:
            raise TrustError(
                f"{path}: a signed target was expected, the repository has none; publish it first"
            )
        if info.length > length_max or "sha256" not in info.hashes:
            raise TrustError(f"{path}: at most {length_max} bytes with a SHA-256 were expected")
        content = _read(self._repository, _target_path(info), info.length + 1)
        found = hashlib.sha256(content).hexdigest()
        if len(content) != info.length or found != info.hashes["sha256"]:
            raise TrustError(
                f"{path}: {info.length} bytes with SHA-256 {info.hashes['sha256'][:16]} were "
                f"expected, {len(content)} with {found[:16]} found; the mirror serves other bytes"
            )
        return content

    def seen(self) -> Seen:
        """The versions that were verified, and the keys that may sign for each role."""
        trusted = self._updater._trusted_set  # noqa: SLF001  # no public access to what was verified
        root = trusted.root
        roles = {
            role: RoleFloor(keys=tuple(sorted(root.roles[role].keyids)), version=version)
            for role, version in (
                ("root", root.version),
                ("timestamp", trusted.timestamp.version),
                ("snapshot", trusted.snapshot.version),
                ("targets", trusted.targets.version),
            )
        }
        expires = trusted.timestamp.expires
        stated = trusted.timestamp.unrecognized_fields.get(SIGNED_AT)
        return Seen(roles=roles, signed_at=min(_date(stated), expires))


def _date(stated: object) -> datetime:
    try:
        return datetime.strptime(str(stated), TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


@contextmanager
def session(
    *,
    repository: Repository,
    scratch: Scratch,
    files: Files,
    root_of_trust: bytes,
    fleet: str,
    now: datetime,
) -> Iterator[MetadataSession]:
    """Refresh and verify; what was verified is made durable when the block ends without an error.

    Raises `TrustError` and its kinds, `FetchError`, `StateError`. The caller must check
    `MetadataSession.seen` against the floor inside the block.
    """
    from tuf.ngclient import Updater, UpdaterConfig  # noqa: PLC0415  # heavy, see above

    from agent.tuf_fetcher import SeamFetcher  # noqa: PLC0415  # imports tuf

    cached = load_cache(files)
    limits = UpdaterConfig(
        max_root_rotations=64,
        max_delegations=8,
        root_max_length=131_072,
        timestamp_max_length=16_384,
        snapshot_max_length=262_144,
        targets_max_length=METADATA_BYTES_MAX,
    )
    with scratch.folder(cached) as folder:
        with _translated():
            updater = Updater(
                folder,
                METADATA_BASE,
                fetcher=SeamFetcher(repository),
                config=limits,
                bootstrap=root_of_trust,
            )
            # A board without a clock boots in the past, where nothing looks expired: judge by ours.
            updater._trusted_set.reference_time = now  # noqa: SLF001  # there is no public parameter
            updater.refresh()
        yield MetadataSession(updater, repository, fleet)
        found = scratch.collect(folder)
    for name, content in sorted(found.items()):
        if "/" not in name and name != "root.json":
            name = f"metadata/{name}"  # noqa: PLW2901  # root.json is a link into root_history
        if name.startswith(CACHE_FOLDERS) and files.read(name) != content:
            files.replace(name, content)  # a cut between two of these: python-tuf checks each anew


def load_cache(files: Files) -> dict[str, bytes]:
    """The durable copies of verified metadata, by the names that python-tuf gives them."""
    cached: dict[str, bytes] = {}
    for folder in CACHE_FOLDERS:
        for name in files.names(folder):
            content = files.read(name)
            if content is not None:
                cached[name.removeprefix("metadata/")] = content
    return cached


def _target_path(info: "TargetFile") -> str:
    folder, slash, name = info.path.rpartition("/")
    return f"{TARGETS_BASE}{folder}{slash}{info.hashes['sha256']}.{name}"


def _read(repository: Repository, path: str, length_max: int) -> bytes:
    stream = repository.open(path, 0, length_max)
    try:
        parts: list[bytes] = []
        left = length_max
        while left > 0 and (part := stream.read(min(left, READ_BYTES))):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        stream.close()


def read_metadata(repository: Repository, path: str, length_max: int) -> bytes:
    """One metadata file, refused before python-tuf sees it unless it is strict JSON.

    Raises `TrustError`, `FetchError`, `NotFoundError`.
    """
    content = _read(repository, path, length_max + 1)
    refusal = Refusal(TrustError, path.removeprefix(METADATA_BASE))
    load_json(content, length_max=length_max, refusal=refusal)
    return content


@contextmanager
def _translated() -> Iterator[None]:
    """Python-tuf's errors in our words, once."""
    from tuf.api.exceptions import (  # noqa: PLC0415  # heavy, see above
        BadVersionNumberError,
        DownloadError,
        DownloadHTTPError,
        ExpiredMetadataError,
        RepositoryError,
    )

    try:
        yield
    except ExpiredMetadataError as error:
        raise ExpiredError(
            f"signed metadata that is not past its date was expected: {error}; "
            "the fleet must publish again, or this device's clock is wrong"
        ) from error
    except BadVersionNumberError as error:
        raise RollbackError(
            f"metadata newer than what this device has trusted was expected: {error}"
        ) from error
    except RepositoryError as error:
        raise TrustError(
            f"metadata signed by enough of the right keys was expected: {error}; "
            "nothing of it was used"
        ) from error
    except DownloadHTTPError as error:
        raise NotFoundError(f"the repository lacks signed metadata: {error}") from error
    except DownloadError as error:
        raise FetchError(f"the repository did not give its metadata: {error}") from error
