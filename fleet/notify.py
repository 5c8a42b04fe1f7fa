"""Notices: tell the devices to look again. Anyone may send again; a notice is only a hint.

The last notice to the whole fleet is kept in `broker/notice.json`, so that the collector can restore it
when a broker lost what it retained.
"""

import random
import time
from pathlib import Path
from typing import Final

from agent.errors import BrokerError
from agent.notice import Notice, encode_notice
from agent.topics import Topics
from fleet import files
from fleet.certificates import OPERATOR_NAME, Holder, identity
from fleet.session import BrokerAddress, Session, backoff_s
from fleet.workspace import Workspace

ATTEMPTS_MAX: Final = 4
EVERY_DEVICE: Final = "all"
_CHANCE: Final = random.SystemRandom()


def notify(
    workspace: Workspace,
    *,
    spread_s: int = 0,
    device: str | None = None,
    address: BrokerAddress | None = None,
) -> None:
    """Leave a retained notice for the fleet, or for one device; return when the broker has it.

    `address` is where the broker listens when it is not where `fleet.toml` says. Two of these at one
    time end each other's session, so each tries a few times. Raises `BrokerError`.
    """
    settings = workspace.settings()
    content = encode_notice(Notice(spread_s=spread_s))
    topics = Topics(fleet=settings.name, device=device or EVERY_DEVICE)
    if device is None:
        # A cut before the publication leaves a notice that the collector sends: the operator's wish.
        files.replace(last_notice(workspace), content)
    where = address or BrokerAddress(settings.broker_host, settings.broker_port)
    session = Session(where, identity(workspace, Holder.OPERATOR), OPERATOR_NAME)
    topic = topics.fleet_notice if device is None else topics.notice
    for attempt in range(ATTEMPTS_MAX):
        try:
            session.connect()
            session.publish(topic, content, retain=True)
            session.flush()
        except BrokerError:
            if attempt + 1 == ATTEMPTS_MAX:
                raise
            time.sleep(backoff_s(attempt, _CHANCE.random()))
        else:
            return
        finally:
            session.close()


def last_notice(workspace: Workspace) -> Path:
    """Where the last notice to the whole fleet is kept."""
    return workspace.broker / "notice.json"
