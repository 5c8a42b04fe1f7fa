"""What devices can fetch now: reads the folder that a static HTTPS server serves.

metadata/N.root.json, N.ROLE.json, timestamp.json    targets/DIR/SHA256.FILE    blobs/SHA256
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Timestamp

from agent.errors import StateError
from fleet.metadata import RoleName, decode, served_document

TIMESTAMP_FILE: Final = "timestamp.json"
BLOBS: Final = "blobs"
VERSIONED: Final = re.compile(r"([1-9][0-9]{0,15})\.([a-z]+)\.json")


def versioned(role: RoleName, version: int) -> str:
    """The name under which one version of a role is served."""
    return f"metadata/{version}.{role.value}.json"


def read(path: Path) -> bytes | None:
    """A file's content, None when there is none. Raises `StateError`."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{path}: cannot be read: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Published:
    """The folder `public/`; empty before the first publication."""

    folder: Path

    def versions(self, role: RoleName) -> tuple[int, ...]:
        """The versions of a role that lie here, also those of a publication that was cut."""
        names = (path.name for path in (self.folder / "metadata").glob(f"*.{role.value}.json"))
        matches = (VERSIONED.fullmatch(name) for name in names)
        return tuple(sorted(int(match[1]) for match in matches if match and match[2] == role))

    def version(self, role: RoleName, version: int) -> bytes | None:
        """One version of a role."""
        return read(self.folder / versioned(role, version))

    def newest_root(self) -> Metadata[Root] | None:
        """The root that devices end up with."""
        for version in reversed(self.versions(RoleName.ROOT)):
            content = self.version(RoleName.ROOT, version)
            if content is not None:
                return decode(content, Root, versioned(RoleName.ROOT, version))
        return None

    def timestamp(self) -> Metadata[Timestamp] | None:
        """What devices read first."""
        content = read(self.folder / "metadata" / TIMESTAMP_FILE)
        return None if content is None else decode(content, Timestamp, TIMESTAMP_FILE)

    def snapshot_bytes(self) -> bytes | None:
        """The snapshot that the timestamp names, as it is served."""
        timestamp = self.timestamp()
        if timestamp is None:
            return None
        return self.version(RoleName.SNAPSHOT, timestamp.signed.snapshot_meta.version)

    def current(self, role: RoleName) -> bytes | None:
        """The version of a listed role that devices use, as it is served."""
        content = self.snapshot_bytes()
        if content is None:
            return None
        snapshot = decode(content, Snapshot, "snapshot.json")
        meta = snapshot.signed.meta.get(f"{role.value}.json")
        return None if meta is None else self.version(role, meta.version)

    def document(self, target: TargetFile) -> bytes | None:
        """A document by its hash, whichever version of it metadata means."""
        return read(self.folder / served_document(target))

    def blob(self, sha256: str) -> Path:
        """Where a blob lies, or would."""
        return self.folder / BLOBS / sha256
