"""python-tuf's way to the repository: through our seam, whole files, strict JSON only."""

from collections.abc import Iterator

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from agent.errors import NotFoundError
from agent.interfaces import Repository
from agent.metadata import METADATA_BYTES_MAX, read_metadata


class SeamFetcher(FetcherInterface):
    """Fetches metadata through `Repository`; our own errors pass through python-tuf as they are."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def _fetch(self, url: str) -> Iterator[bytes]:
        yield self.download_bytes(url, METADATA_BYTES_MAX)

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """One metadata file of at most `max_length` bytes, without a temporary file."""
        try:
            return read_metadata(self._repository, url, max_length)
        except NotFoundError as error:  # ends python-tuf's walk to newer roots
            raise DownloadHTTPError(str(error), 404) from error
