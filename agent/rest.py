"""What an agent that has nothing to do remembers until it is started again. Pure.

The memory belongs to one boot: its moments are those of a clock that begins with the boot. Losing it costs
a check that comes earlier or later than it would have.
"""

from typing import Final, NamedTuple, Protocol

from agent.errors import NoticeError
from agent.outlook import Outlook, outlook_document, outlook_fields
from agent.strict import Fields, Refusal, encode_json, load_json

SCHEMA: Final = 1
BYTES_MAX: Final = 8192
FAILURES_MAX: Final = 1000
SHORTEST_S: Final = 2.0
"""What is due so soon is waited for: to end and to start again costs more."""


class Rest(Protocol):
    """The way to end. Raises `BrokerError` and `StateError`."""

    def remembered(self) -> bytes | None:
        """What was left at the last rest, if anything."""
        ...

    def rest(self, wake_after_s: float, *, on_session: bool, memory: bytes) -> bool:
        """Whether this process may end now; it will be started again after so long, or for a message.

        `on_session` asks for it too when there is a new session with the broker.
        """
        ...


class Memory(NamedTuple):
    """When the agent looks again and when it looked last, in milliseconds of the boot's clock.

    `checked_ms` is -1 when it has not looked in this boot.
    """

    boot_id: str
    check_due_ms: int
    checked_ms: int
    failures: int
    detail: str
    outlook: Outlook | None = None


def encode_memory(memory: Memory) -> bytes:
    """For a file of the boot."""
    return encode_json(
        {
            "schema": SCHEMA,
            "boot_id": memory.boot_id,
            "check_due_ms": memory.check_due_ms,
            "checked_ms": memory.checked_ms,
            "failures": memory.failures,
            "detail": memory.detail,
            "outlook": outlook_document(memory.outlook),
        }
    )


def parse_memory(content: bytes | None, boot_id: str) -> Memory | None:
    """The memory of this boot; None when there is none, or none that can be used."""
    if content is None:
        return None
    try:
        fields = load_json(content, length_max=BYTES_MAX, refusal=Refusal(NoticeError, "rest"))
        memory = _memory(fields)
    except NoticeError:
        return None
    return memory if memory.boot_id == boot_id else None


def _memory(fields: Fields) -> Memory:
    fields.integer("schema", SCHEMA, SCHEMA)
    memory = Memory(
        boot_id=fields.text("boot_id"),
        check_due_ms=fields.integer("check_due_ms", 0),
        checked_ms=fields.integer("checked_ms", -1),
        failures=fields.integer("failures", 0, FAILURES_MAX),
        detail=fields.text("detail", length_max=BYTES_MAX),
        outlook=outlook_fields(fields, "outlook"),
    )
    fields.done()
    return memory
