"""A notice: an untrusted hint to look again. Pure.

    {"schema": 1, "spread_s": N}

It carries no address, no hash and no permission. A forged one costs one metadata refresh.
"""

from typing import Final, NamedTuple

from agent.errors import NoticeError
from agent.strict import Refusal, encode_json, load_json

SCHEMA: Final = 1
NOTICE_BYTES_MAX: Final = 1024
SPREAD_S_MAX: Final = 6 * 60 * 60


class Notice(NamedTuple):
    """Look again, each device after its own share of `spread_s` seconds."""

    spread_s: int


def parse_notice(content: bytes) -> Notice:
    """The notice in a message. Raises `NoticeError`."""
    fields = load_json(content, length_max=NOTICE_BYTES_MAX, refusal=Refusal(NoticeError, "notice"))
    fields.integer("schema", SCHEMA, SCHEMA)
    notice = Notice(spread_s=fields.integer("spread_s", 0, SPREAD_S_MAX))
    fields.done()
    return notice


def encode_notice(notice: Notice) -> bytes:
    """The message of a notice; `parse_notice` reads it back."""
    return encode_json({"schema": SCHEMA, "spread_s": notice.spread_s})
