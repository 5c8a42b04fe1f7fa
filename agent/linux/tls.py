"""TLS as every connection of this device speaks it: one authority, given by the fleet, and no other."""

import socket
import ssl
from typing import Protocol

from agent.errors import BrokerError, UpdateError


class Address(Protocol):
    """Where a broker is and how it knows this device; `BrokerSettings` has the same names."""

    @property
    def host(self) -> str:
        """Its name, which its certificate must bear."""
        ...

    @property
    def port(self) -> int:
        """Its port."""
        ...

    @property
    def authority(self) -> str:
        """The file with the only authority that is believed."""
        ...

    @property
    def certificate(self) -> str:
        """The file with this device's certificate."""
        ...

    @property
    def key(self) -> str:
        """The file with the key that belongs to it."""
        ...

    @property
    def keepalive_s(self) -> int:
        """How long the connection may be silent."""
        ...


def client_context(
    authority: str, sockets: type[ssl.SSLSocket], refusal: type[UpdateError]
) -> ssl.SSLContext:
    """A context that believes only `authority` (a PEM file) and checks the server's name.

    `sockets` is the class of the sockets that it makes. TLS 1.2 at least. Raises `refusal` when the
    file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = sockets
    try:
        context.load_verify_locations(cafile=authority)
    except OSError as error:
        raise refusal(
            f"{authority}: a certificate in PEM of the servers' authority was expected: "
            f"{error.strerror or error}; check `authority` in agent.toml"
        ) from error
    return context


def load_identity(
    context: ssl.SSLContext, certificate: str, key: str, refusal: type[UpdateError]
) -> None:
    """Let the context answer with this device's certificate. Raises `refusal`."""
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise refusal(
            f"{certificate} and {key}: this device's certificate and its key in PEM were expected: "
            f"{error.strerror or error}; enrol the device, or check [broker] in agent.toml"
        ) from error


def dial(address: Address, timeout_s: float) -> ssl.SSLSocket:
    """A connection to the broker, which does not block from now on. Raises `BrokerError`."""
    context = client_context(address.authority, ssl.SSLSocket, BrokerError)
    load_identity(context, address.certificate, address.key, BrokerError)
    try:
        # A name in bytes stays as it is; one in letters would load half a mebibyte of Unicode tables.
        host = address.host.encode("ascii" if address.host.isascii() else "idna")
        plain = _connected(host, address.port, timeout_s)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            secured = context.wrap_socket(plain, server_hostname=host)
        except OSError:
            plain.close()
            raise
    except (OSError, UnicodeError) as error:
        raise BrokerError(_explain(address, error)) from error
    secured.setblocking(False)
    return secured


def _connected(host: bytes, port: int, timeout_s: float) -> socket.socket:
    """A connection to the first of the host's addresses that answers."""
    failure: OSError = OSError("it has no address")
    for family, kind, protocol, _, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        plain = socket.socket(family, kind, protocol)
        plain.settimeout(timeout_s)
        try:
            plain.connect(where)
        except OSError as error:
            plain.close()
            failure = error
        else:
            return plain
    raise failure


def place(address: Address) -> str:
    """What a person calls the broker."""
    return f"broker {address.host}:{address.port}"


def short(error: OSError) -> str:
    """What went wrong, without numbers."""
    if isinstance(error, ssl.SSLError):
        return str(error.reason or error)
    return error.strerror or str(error)


def _explain(address: Address, error: OSError | UnicodeError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{place(address)}: a certificate for {address.host} from {address.authority} was "
            f"expected, another found ({error.verify_message}); check [broker] in agent.toml and "
            "this device's date"
        )
    if isinstance(error, ssl.SSLError):
        return f"{place(address)} does not speak TLS as expected ({short(error)})"
    if isinstance(error, UnicodeError):
        return (
            f"{place(address)}: the name of a host was expected; correct broker.host in agent.toml"
        )
    if isinstance(error, TimeoutError):
        return f"{place(address)} does not answer; check the network and its firewall"
    return (
        f"{place(address)} cannot be reached ({short(error)}); "
        "check the network and [broker] in agent.toml"
    )
