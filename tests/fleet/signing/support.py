"""A small fleet for the tests of signing: a fixed date, a client, and images that take no time."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

from fleet.keys import KeyFolders
from fleet.publish import Publication, publish
from fleet.release import ImageInput, MadeRelease, ReleaseRequest, add_release
from fleet.workspace import FleetSettings, Workspace

NOW: Final = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER: Final = NOW + timedelta(hours=1)
SETTINGS: Final = FleetSettings("harbour", "localhost", 8883, "https://localhost:8443")
HARDWARE: Final = "raspberrypi,4-model-b"


def noise(length_bytes: int, seed: int = 1) -> bytes:
    """Bytes that do not compress."""
    return random.Random(seed).randbytes(length_bytes)


@dataclass(frozen=True, slots=True)
class Fleet:
    """One fleet's folder with all keys at hand."""

    workspace: Workspace

    @property
    def keys(self) -> KeyFolders:
        return KeyFolders((self.workspace.keys,))

    def add(self, name: str, counter: int, content: bytes | None = None) -> MadeRelease:
        path = self.workspace.root / f"{name}.img"
        path.write_bytes(noise(1024, counter) if content is None else content)
        request = ReleaseRequest(name, counter, "feature", (ImageInput(HARDWARE, "root", path),))
        return add_release(self.workspace, self.keys, request, NOW)

    def publish(self, now: datetime = NOW) -> Publication:
        return publish(self.workspace, self.keys, now)

    def picture(self) -> dict[str, str]:
        """Every file that devices can fetch, with its SHA-256."""
        public = self.workspace.public
        return {
            str(path.relative_to(public)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(public.rglob("*"))
            if path.is_file()
        }

    def take_away(self, role: str, folder: Path) -> None:
        """Carry the private keys of a role to another machine."""
        (folder / role).parent.mkdir(parents=True, exist_ok=True)
        (self.workspace.keys / role).rename(folder / role)


class _FolderFetcher(FetcherInterface):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self._folder / url.removeprefix("fleet:/")
        if not path.is_file():
            raise DownloadHTTPError(f"{url}: not found", 404)
        return iter((path.read_bytes(),))


@dataclass(frozen=True, slots=True)
class Client:
    """A device as far as TUF is concerned; it remembers in its folder what it trusted."""

    fleet: Fleet
    folder: Path

    def fetch(self, path: str, now: datetime = NOW) -> bytes | None:
        """The document of this name, None when nobody may sign it or nobody did."""
        metadata, documents = self.folder / "metadata", self.folder / "documents"
        metadata.mkdir(parents=True, exist_ok=True)
        documents.mkdir(exist_ok=True)
        updater = Updater(
            str(metadata),
            "fleet:/metadata/",
            target_dir=str(documents),
            target_base_url="fleet:/targets/",
            fetcher=_FolderFetcher(self.fleet.workspace.public),
            bootstrap=(self.fleet.workspace.stage / "root_of_trust.json").read_bytes(),
        )
        updater._trusted_set.reference_time = now  # noqa: SLF001  # python-tuf has no parameter
        updater.refresh()
        target = updater.get_targetinfo(path)
        return None if target is None else Path(updater.download_target(target)).read_bytes()
