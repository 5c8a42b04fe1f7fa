"""Changes to what a repository serves, with and without a key."""

import json
from collections.abc import Callable

from securesystemslib.exceptions import FormatError
from securesystemslib.formats import encode_canonical

from tests.core.tuf_repository import (
    TufRepository,
    signer,
)


def newest(repository: TufRepository, role: str) -> str:
    """The path of the newest file of a role."""
    if role == "timestamp":
        return "metadata/timestamp.json"
    return f"metadata/{repository.role(role).version}.{role}.json"


def edit(repository: TufRepository, role: str, change: Callable[[dict[str, object]], None]) -> None:
    """Change a role's newest file without any key."""
    path = newest(repository, role)
    document = json.loads(repository.files[path])
    change(document)
    repository.files[path] = json.dumps(document).encode()


def resign(content: bytes, role: str) -> bytes:
    """The same file with a good signature over whatever it says, when it can be said at all."""
    document = json.loads(content)
    try:
        canonical = encode_canonical(document["signed"])
    except FormatError:
        return content
    if canonical is None:
        return content
    signature = signer(role).sign(canonical.encode())
    document["signatures"] = [{"keyid": signature.keyid, "sig": signature.signature}]
    return json.dumps(document).encode()
