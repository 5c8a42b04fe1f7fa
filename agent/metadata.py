"""Trusted documents: a TUF refresh through python-tuf, with our own fetcher, time, floor and memory.

python-tuf runs on a scratch copy in memory. What it verified is made durable through `Files` only after
the floor agreed, so a cut leaves either state whole; losing all of it costs a refresh from the root of
trust, and the floor still stands.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from agent.errors import (
    ExpiredError,
    FetchError,
    NotFoundError,
    RollbackError,
    StateError,
    TrustError,
)
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
from agent.strict import NAME, TIME_FORMAT, Refusal, load_json
from agent.tuf_client import do_without_urllib3

if TYPE_CHECKING:  # tuf costs 8 MiB and 0.1 s: it is imported when there is something to verify
    from tuf.api.metadata import Snapshot, TargetFile
    from tuf.ngclient import Updater

METADATA_BASE: Final = "metadata/"
TARGETS_BASE: Final = "targets/"
CACHE_FOLDERS: Final = ("metadata", "root_history")
METADATA_BYTES_MAX: Final = 1024 * 1024
READ_BYTES: Final = 64 * 1024
ROOTS_MAX: Final = 64
"""How many new roots are followed in one session; the next one goes on from there."""
LISTED_MAX: Final = 32
"""How many delegated roles have a floor: the file of the floor stays small."""
NUMBERS: Final = frozenset({"version", "threshold", "length", "bit_length"})
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
        roles |= self._listed(trusted.snapshot, roles["snapshot"].keys)
        expires = trusted.timestamp.expires
        stated = trusted.timestamp.unrecognized_fields.get(SIGNED_AT)
        return Seen(roles=roles, signed_at=min(_date(stated), expires))

    @property
    def expires(self) -> datetime:
        """The first date at which something that was verified here is past its own."""
        return min(signed.expires for signed in self._updater._trusted_set)  # noqa: SLF001  # as above

    @property
    def next_root(self) -> int:
        """The first version of root that the repository does not have."""
        return int(self._updater._trusted_set.root.version) + 1  # noqa: SLF001  # as above

    def _listed(self, snapshot: "Snapshot", keys: tuple[str, ...]) -> dict[str, RoleFloor]:
        """What the snapshot says of the roles that sign our documents: its keys vouch for that."""
        delegations = self._updater._trusted_set.targets.delegations  # noqa: SLF001  # as above
        named = sorted(delegations.roles or {}) if delegations is not None else []
        return {
            role: RoleFloor(keys=keys, version=snapshot.meta[f"{role}.json"].version)
            for role in named[:LISTED_MAX]
            if f"{role}.json" in snapshot.meta
        }


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
    now: Callable[[tuple[str, ...] | None], datetime],
) -> Iterator[MetadataSession]:
    """Refresh and verify; what was verified is made durable when the block ends without an error.

    `now` is the date to judge expiry by, given the keys of the timestamp role once they are known.
    Raises `TrustError` and its kinds, `FetchError`, `StateError`. The caller must check
    `MetadataSession.seen` against the floor inside the block.
    """
    cached = load_cache(files)
    with scratch.folder(cached) as folder:
        with _translated():
            known_roots = sum(name.startswith("root_history/") for name in cached)
            updater = _refreshed(folder, repository, root_of_trust, now, known_roots)
        yield MetadataSession(updater, repository, fleet)
        found = scratch.collect(folder)
    for name, content in sorted(found.items()):
        if "/" not in name and name != "root.json":
            name = f"metadata/{name}"  # noqa: PLW2901  # root.json is a link into root_history
        if not NAME.fullmatch(name.rpartition("/")[2]):
            continue  # a role whose name is no file's name is fetched each time
        if name.startswith(CACHE_FOLDERS) and _cached(files, name) != content:
            files.replace(name, content)  # a cut between two of these: python-tuf checks each anew


def _refreshed(
    folder: str,
    repository: Repository,
    root_of_trust: bytes,
    now: Callable[[tuple[str, ...] | None], datetime],
    known_roots: int,
) -> "Updater":
    """What python-tuf verified, judged by our date, and by another one after a rotation of keys.

    python-tuf counts rotations from the root of trust on, also those that it has in its cache.
    """
    do_without_urllib3()
    from tuf.api.exceptions import ExpiredMetadataError  # noqa: PLC0415  # heavy, see above
    from tuf.ngclient import Updater, UpdaterConfig  # noqa: PLC0415  # heavy, see above

    from agent.tuf_fetcher import SeamFetcher  # noqa: PLC0415  # imports tuf

    limits = UpdaterConfig(
        max_root_rotations=ROOTS_MAX + known_roots,
        max_delegations=8,
        root_max_length=131_072,
        timestamp_max_length=16_384,
        snapshot_max_length=262_144,
        targets_max_length=METADATA_BYTES_MAX,
    )

    def updater_at(date: datetime) -> Updater:
        updater = Updater(
            folder,
            METADATA_BASE,
            fetcher=SeamFetcher(repository),
            config=limits,
            bootstrap=root_of_trust,
        )
        # A board without a clock boots in the past, where nothing looks expired: judge by ours.
        updater._trusted_set.reference_time = date  # noqa: SLF001  # there is no public parameter
        return updater

    updater = updater_at(now(None))
    try:
        updater.refresh()
    except ExpiredMetadataError:
        newest = updater._trusted_set.root  # noqa: SLF001  # no public access to what was verified
        date = now(tuple(sorted(newest.roles["timestamp"].keyids)))
        if date >= now(None):
            raise
        updater = updater_at(date)
        updater.refresh()
    return updater


def load_cache(files: Files) -> dict[str, bytes]:
    """The durable copies of verified metadata, by the names that python-tuf gives them."""
    cached: dict[str, bytes] = {}
    for folder in CACHE_FOLDERS:
        for name in files.names(folder):
            content = _cached(files, name)
            if content is not None:
                cached[name.removeprefix("metadata/")] = content
    return cached


def _cached(files: Files, name: str) -> bytes | None:
    """A durable copy; one that the medium does not give back is as if it were not there: it is fetched."""
    try:
        return files.read(name)
    except StateError:
        return None


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
    document = load_json(content, length_max=length_max, refusal=refusal).raw
    if _has_boolean_number(document):
        refusal.raise_it(
            "", "a number was expected for a version, threshold or length; it is true or false"
        )
    return content


def _has_boolean_number(value: object) -> bool:
    """Whether true stands for 1, which python-tuf would take as a threshold."""
    if isinstance(value, dict):
        return any(
            (key in NUMBERS and isinstance(inner, bool)) or _has_boolean_number(inner)
            for key, inner in value.items()
        )
    return isinstance(value, list) and any(_has_boolean_number(inner) for inner in value)


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
    except OSError as error:
        raise StateError(
            f"scratch space for metadata was expected: {error.strerror or error}; make room in memory"
        ) from error
