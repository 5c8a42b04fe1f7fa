"""The embedded broker, for computers without mosquitto: amqtt with the same rules; its own process.

python -m fleet.embedded_broker FOLDER HOST:PORT

MQTT 3.1.1 only, nothing is kept over a restart, and a second client of one name does not end the first:
fit for a demonstration and for tests of the fall-back. `docs/mqtt.md`.
"""

import asyncio
import re
import signal
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from amqtt.broker import Broker  # type: ignore[import-untyped]  # amqtt has no type marker
from amqtt.contexts import (  # type: ignore[import-untyped]  # the same
    Action,
    BrokerConfig,
    ListenerConfig,
)
from amqtt.plugins.base import (  # type: ignore[import-untyped]  # the same
    BaseAuthPlugin,
    BaseTopicPlugin,
)
from amqtt.session import Session  # type: ignore[import-untyped]  # the same

from fleet.certificates import CLIENT_NAMES, Holder, identity, revoked_devices
from fleet.workspace import Workspace

READABLE: Final = r"lockgate/{fleet}/(notice|{name}/(notice|receipt))"
WRITABLE: Final = r"lockgate/{fleet}/{name}/(state|presence|report)"
OURS: Final = r"lockgate/{fleet}/.*"


def certificate_name(session: Session | None) -> str | None:
    """The common name of the client's certificate; None when it showed none."""
    tls: ssl.SSLObject | None = session.ssl_object if session is not None else None
    certificate = tls.getpeercert() if tls is not None else None
    subject = certificate.get("subject", ()) if certificate else ()
    pairs = [pair for part in subject for pair in part]
    names = [str(pair[1]) for pair in pairs if pair[0] == "commonName"]
    return names[0] if len(names) == 1 else None


def allowed(fleet: str, name: str, topic: str, action: str) -> bool:
    """Whether the holder of this certificate may do this: the rules of `broker_config.access_rules`."""
    own = WRITABLE if action == Action.PUBLISH else READABLE
    pattern = OURS if name in CLIENT_NAMES.values() else own
    rule = pattern.format(fleet=re.escape(fleet), name=re.escape(name))
    return re.fullmatch(rule, topic) is not None


class CertificateLogin(BaseAuthPlugin):  # type: ignore[misc]  # its base is untyped
    """Lets in whoever showed a certificate, under its name only."""

    async def authenticate(self, *, session: Session) -> bool:
        """Whether the client shows a certificate whose name is its client id."""
        return certificate_name(session) == str(session.client_id)


class CertificateTopics(BaseTopicPlugin):  # type: ignore[misc]  # its base is untyped
    """Ties topics to certificates."""

    @dataclass
    class Config:
        """The plug-in's settings, as amqtt wants them."""

        fleet: str = ""
        revoked: tuple[str, ...] = ()

    async def topic_filtering(
        self,
        *,
        session: Session | None = None,
        topic: str | None = None,
        action: Action | None = None,
    ) -> bool:
        """Whether the client may publish, subscribe or receive here."""
        name = certificate_name(session)
        known = bool(name and topic and action) and name not in self.config.revoked
        return known and allowed(self.config.fleet, str(name), str(topic), str(action))


def configuration(workspace: Workspace, bind: str) -> BrokerConfig:
    """The settings of amqtt for this fleet."""
    files = identity(workspace, Holder.BROKER)
    listener = ListenerConfig(
        bind=bind, ssl=True, cafile=files.authority, certfile=files.certificate, keyfile=files.key
    )
    plugins = {
        f"{__spec__.name}.{CertificateLogin.__name__}": {},
        f"{__spec__.name}.{CertificateTopics.__name__}": {
            "fleet": workspace.settings().name,
            "revoked": revoked_devices(workspace),
        },
    }
    return BrokerConfig(listeners={"default": listener}, plugins=plugins)


async def serve(workspace: Workspace, bind: str) -> None:
    """Run until the process is asked to end."""
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    broker = Broker(configuration(workspace, bind))
    await broker.start()
    await end.wait()
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(serve(Workspace(Path(sys.argv[1])), sys.argv[2]))
