"""Runs a real TUF client over what is about to be published: what it cannot fetch is not published."""

import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from agent.errors import TrustError
from fleet.candidate import Candidate
from fleet.check import LENGTHS_MAX, NOTHING_PUBLISHED
from fleet.metadata import DELEGATED, METADATA_BYTES_MAX, RoleName

BASE: Final = "candidate:/"
CONFIG: Final = UpdaterConfig(
    max_root_rotations=64,
    max_delegations=8,
    root_max_length=LENGTHS_MAX[RoleName.ROOT],
    timestamp_max_length=LENGTHS_MAX[RoleName.TIMESTAMP],
    snapshot_max_length=LENGTHS_MAX[RoleName.SNAPSHOT],
    targets_max_length=METADATA_BYTES_MAX,
)
"""What devices allow."""


class CandidateFetcher(FetcherInterface):
    """Serves a candidate from memory."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        content = self._files.get(unquote(url.removeprefix(BASE)))
        if content is None:
            raise DownloadHTTPError(f"{url}: not found", 404)
        return iter((content,))


def rehearse(candidate: Candidate, now: datetime) -> None:
    """Be a new device: from the root of trust to every document. Raises `TrustError`."""
    with tempfile.TemporaryDirectory(prefix="lockgate-rehearsal-") as folder:
        try:
            _fetch_all(candidate, Path(folder), now)
        except (RepositoryError, DownloadError) as error:
            raise TrustError(
                f"a device would refuse this repository: {error}; {NOTHING_PUBLISHED}"
            ) from error


def _fetch_all(candidate: Candidate, folder: Path, now: datetime) -> None:
    metadata, documents = folder / "metadata", folder / "documents"
    metadata.mkdir()
    documents.mkdir()
    updater = Updater(
        str(metadata),
        f"{BASE}metadata/",
        target_dir=str(documents),
        target_base_url=f"{BASE}targets/",
        fetcher=CandidateFetcher(candidate.files()),
        config=CONFIG,
        bootstrap=candidate.root_of_trust,
    )
    # The date is a parameter here, and python-tuf has none for it.
    updater._trusted_set.reference_time = now  # noqa: SLF001  # no public one
    updater.refresh()
    for role in DELEGATED:
        for path in candidate.targets(role).signed.targets:
            target = updater.get_targetinfo(path)
            if target is None:
                raise TrustError(f"{path}: a device would not find it; {NOTHING_PUBLISHED}")
            updater.download_target(target)
