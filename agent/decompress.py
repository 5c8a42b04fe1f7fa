"""zstd with a bound on what comes out: from Python itself where it has it, else from its backport."""

import sys
from typing import Final

from agent.errors import PayloadError

WINDOW_LOG_MAX: Final = 23
"""The largest window that a record may ask of the decoder: 8 MiB of memory."""


def decompress(record: bytes, length_bytes: int, prefix: bytes = b"") -> bytes:
    """Exactly `length_bytes` bytes from one zstd frame with nothing behind it.

    `prefix` is what the frame may refer back to: raw content, not a trained dictionary. Raises
    `PayloadError` before more than `length_bytes` + 1 bytes exist.
    """
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415  # only when an update is under way
    else:
        from backports import zstd  # noqa: PLC0415  # only when an update is under way

    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX}
    known = zstd.ZstdDict(prefix, is_raw=True).as_prefix if prefix else None
    decoder = zstd.ZstdDecompressor(zstd_dict=known, options=options)
    try:
        content = decoder.decompress(record, length_bytes + 1)
    except zstd.ZstdError as error:
        raise PayloadError(
            f"a zstd record was expected: {error}; publish the payload anew"
        ) from error
    if len(content) != length_bytes or not decoder.eof or decoder.unused_data:
        raise PayloadError(
            f"a zstd record of {length_bytes} bytes and no more was expected, "
            f"{len(content)} or more found; publish the payload anew"
        )
    return content
