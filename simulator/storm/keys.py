"""Verifies each signature once in a process: thousands of worlds look at the same signed bytes again.

Only what was verified is remembered, by key, signature and bytes; all else is verified anew each time.
"""

from functools import lru_cache
from typing import Final

from securesystemslib.signer import KEY_FOR_TYPE_AND_SCHEME, Signature, SSlibKey

ED25519: Final = "ed25519"
REMEMBERED: Final = 2048


class RememberingKey(SSlibKey):
    """An Ed25519 key that verifies as any does."""

    def verify_signature(self, signature: Signature, data: bytes) -> None:
        """Raises what `SSlibKey` raises when the signature is not this key's."""
        public = str(self.keyval["public"])
        _verify(self.keyid, public, signature.keyid, signature.signature, data)


@lru_cache(maxsize=REMEMBERED)
def _verify(keyid: str, public: str, signed_by: str, signature: str, content: bytes) -> None:
    key = SSlibKey(keyid, ED25519, ED25519, {"public": public})
    key.verify_signature(Signature(signed_by, signature), content)


def remember_signatures() -> None:
    """From now on metadata that is read in this process has such keys."""
    KEY_FOR_TYPE_AND_SCHEME[(ED25519, ED25519)] = RememberingKey
