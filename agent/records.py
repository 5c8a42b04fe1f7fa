"""Fetches the index and the records of one payload, in as few requests as their order allows."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from agent.delta_index import parse_delta_index
from agent.encryption import SCHEME, ContentKey, open_envelope
from agent.errors import NotFoundError, PayloadError, RecipientError
from agent.interfaces import ByteStream, Repository
from agent.payload import PayloadIndex, WindowEntry, parse_index
from agent.release import DELTA, Payload


@dataclass(slots=True)
class Meter:
    """What an installation has cost so far, and how far it is; kept when it fails."""

    fetched_bytes: int = 0
    written_bytes: int = 0
    done_bytes: int = 0
    total_bytes: int = 0


class Records:
    """One payload on its way. Raises `FetchError`, `PayloadError`.

    `fetched_bytes` counts records only. `secret` is the device's private key (PEM), empty without one: it
    opens what is encrypted, after its SHA-256 was found right.
    """

    def __init__(
        self,
        repository: Repository,
        payload: Payload,
        image_bytes: int,
        meter: Meter,
        secret: bytes = b"",
    ) -> None:
        self._repository = repository
        self._payload = payload
        self._image_bytes = image_bytes
        self._meter = meter
        self._secret = secret
        self._key: ContentKey | None = None
        self._stream: ByteStream | None = None
        self._position = 0
        self._end = 0
        self.fetched_bytes = 0

    def index(self) -> PayloadIndex:
        """The payload's index, checked against the release manifest.

        Nothing more is asked for: what a server has sent when a stream is closed was paid for in vain.
        """
        payload = self._payload
        self._key = self._content_key()
        unseal = self._key.open_index if self._key else None
        content = self._fetch(0, payload.index_bytes, payload.index_bytes)
        if payload.kind == DELTA:
            return parse_delta_index(
                content,
                sha256=payload.index_sha256,
                image_bytes=self._image_bytes,
                payload_bytes=payload.length_bytes,
                base_bytes=payload.base_bytes,
                unseal=unseal,
            )
        return parse_index(
            content,
            sha256=payload.index_sha256,
            image_bytes=self._image_bytes,
            payload_bytes=payload.length_bytes,
            unseal=unseal,
        )

    def _content_key(self) -> ContentKey | None:
        """What opens the payload; None when anyone can read it. Raises `RecipientError`."""
        encryption, length = self._payload.encryption, self._payload.length_bytes
        if encryption is None:
            return None
        if encryption.scheme != SCHEME or not self._secret:
            raise RecipientError(
                f"payload {self._payload.blob[:16]}: encrypted by {encryption.scheme}, for which this "
                "device has no key; see encryption.key in agent.toml"
            )
        envelope = self._fetch(
            length - encryption.envelope_bytes, encryption.envelope_bytes, length
        )
        self.close()
        if hashlib.sha256(envelope).hexdigest() != encryption.envelope_sha256:
            raise PayloadError(
                f"payload {self._payload.blob[:16]}: its envelope has another SHA-256 than the release "
                "names; the mirror serves other bytes"
            )
        return open_envelope(envelope, self._secret, self._payload.index_sha256)

    def check_end(self) -> None:
        """Fetch the last byte of the payload: a truncated copy is found before the first write."""
        length = self._payload.length_bytes
        self._fetch(length - 1, 1, length)
        self.close()

    def record(self, entry: WindowEntry, end: int | None = None) -> bytes:
        """One record, checked. What is asked for goes up to `end`: nothing behind that is expected to be.

        A server sends ahead what was asked for, and the device pays for it.
        """
        own_end = entry.record_offset + entry.record_length
        wanted_end = self._payload.length_bytes if end is None else max(own_end, end)
        content = self._fetch(entry.record_offset, entry.record_length, wanted_end)
        self.fetched_bytes += len(content)
        if hashlib.sha256(content).digest() != entry.record_sha256:
            self.close()  # what follows on this stream is as wrong
            raise PayloadError(
                f"payload {self._payload.blob[:16]}: the record at {entry.record_offset} has another "
                "SHA-256 than the release names; the mirror serves other bytes"
            )
        if self._key is not None:
            return self._key.open_record(content, entry.record_offset - self._payload.index_bytes)
        return content

    def close(self) -> None:
        """Stop fetching."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _fetch(self, offset: int, length_bytes: int, end: int) -> bytes:
        if self._stream is None or self._position != offset or self._end < offset + length_bytes:
            self.close()
            self._stream = self._repository.open(self._payload.path, offset, end - offset)
            self._position, self._end = offset, end
        content = b"".join(self._parts(self._stream, length_bytes))
        self._position += len(content)
        return content

    def _parts(self, stream: ByteStream, length_bytes: int) -> Iterator[bytes]:
        left = length_bytes
        while left > 0:
            part = stream.read(left)
            if not part:
                self.close()
                raise NotFoundError(
                    f"payload {self._payload.blob[:16]}: {left} bytes more were expected, it ended; "
                    "the mirror has a truncated copy"
                )
            left -= len(part)
            self._meter.fetched_bytes += len(part)
            yield part
