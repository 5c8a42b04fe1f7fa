"""TLS as every connection of this device speaks it: one authority, given by the fleet, and no other."""

import ssl

from agent.errors import UpdateError


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
