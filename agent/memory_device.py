"""A `BlockDevice` in memory, so that an image for a chip is fetched and checked as one for a slot is."""

from agent.errors import InstallError


class MemoryDevice:
    """So many bytes, gone with the process."""

    def __init__(self, size_bytes: int) -> None:
        self._content = bytearray(size_bytes)

    @property
    def size_bytes(self) -> int:
        """The size of the device."""
        return len(self._content)

    def read(self, offset: int, length_bytes: int) -> bytes:
        """Exactly this many bytes from offset."""
        self._check(offset, length_bytes)
        return bytes(self._content[offset : offset + length_bytes])

    def write(self, offset: int, content: bytes) -> None:
        """Take bytes for offset."""
        self._check(offset, len(content))
        self._content[offset : offset + len(content)] = content

    def flush(self) -> None:
        """There is no medium behind it."""

    def _check(self, offset: int, length_bytes: int) -> None:
        if offset < 0 or offset + length_bytes > len(self._content):
            raise InstallError(
                f"bytes {offset} to {offset + length_bytes} were asked for, there are {len(self._content)}"
            )
