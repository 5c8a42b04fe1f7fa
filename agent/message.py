"""One MQTT publication, as all of the seams hand it on.

It is a module of its own, and no dataclass, because the two programs that live for little use it: a
courier that keeps little memory and an agent that only glances. Making dataclasses costs both.
"""

from typing import NamedTuple


class Message(NamedTuple):
    """One MQTT publication."""

    topic: str
    content: bytes
    retain: bool = False
