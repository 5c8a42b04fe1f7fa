"""The mosquitto configuration of a fleet: who may log in, and which topics are whose.

broker/mosquitto.conf   settings; include it from /etc/mosquitto/conf.d or start mosquitto with it
broker/acl              topics by certificate name
broker/data/            what mosquitto keeps over a restart

A certificate's common name is the user name and the client id too, so no device can take over the
session of another. `docs/mqtt.md` says why each setting is as it is.
"""

from collections.abc import Sequence
from typing import Final

from fleet import files
from fleet.certificates import COLLECTOR_NAME, OPERATOR_NAME, Holder, identity, revoked_devices
from fleet.workspace import FleetSettings, Workspace

PACKET_BYTES_MAX: Final = 64 * 1024
IN_FLIGHT_MAX: Final = 100
KEEPALIVE_S_MAX: Final = 1800
SAVE_INTERVAL_S: Final = 60  # each save writes the whole file; the collector restores a lost notice


def write(workspace: Workspace, settings: FleetSettings) -> None:
    """Write the folder `broker/` anew."""
    (workspace.broker / "data").mkdir(parents=True, exist_ok=True)
    rules = access_rules(settings.name, revoked_devices(workspace))
    files.replace(workspace.broker / "acl", rules.encode())
    text = configuration(workspace, port=settings.broker_port)
    files.replace(workspace.broker / "mosquitto.conf", text.encode())


def configuration(workspace: Workspace, *, port: int, bind: str = "") -> str:
    """The text of `mosquitto.conf` for mosquitto 2.0 and later; an empty `bind` means everywhere."""
    pair = identity(workspace, Holder.BROKER)
    folder = workspace.broker.absolute()
    listener = f"listener {port} {bind}".rstrip()
    return f"""\
# Written by lockgate-fleet; docs/mqtt.md says why each setting is as it is.
{listener}
cafile {pair.authority.absolute()}
certfile {pair.certificate.absolute()}
keyfile {pair.key.absolute()}
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file {folder / "acl"}

max_packet_size {PACKET_BYTES_MAX}
max_inflight_messages {IN_FLIGHT_MAX}
max_queued_messages 0
max_keepalive {KEEPALIVE_S_MAX}

persistence true
persistence_location {folder / "data"}/
autosave_interval {SAVE_INTERVAL_S}
"""


def access_rules(fleet: str, revoked: Sequence[str] = ()) -> str:
    """The text of mosquitto's `acl_file`: `%u` stands for the common name of a certificate."""
    denials = "".join(f"\nuser {name}\ntopic deny lockgate/{fleet}/#\n" for name in revoked)
    return f"""\
# Written by lockgate-fleet. What is not allowed here is refused.
user {OPERATOR_NAME}
topic readwrite lockgate/{fleet}/#

user {COLLECTOR_NAME}
topic read lockgate/{fleet}/+/report
topic read lockgate/{fleet}/+/state
topic read lockgate/{fleet}/+/presence
topic write lockgate/{fleet}/+/receipt
topic write lockgate/{fleet}/notice

pattern read lockgate/{fleet}/notice
pattern read lockgate/{fleet}/%u/notice
pattern read lockgate/{fleet}/%u/receipt
pattern write lockgate/{fleet}/%u/state
pattern write lockgate/{fleet}/%u/presence
pattern write lockgate/{fleet}/%u/report
{denials}"""
