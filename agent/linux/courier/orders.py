"""What the resident courier is told by the program that becomes it: words on its command line.

It imports neither TOML nor dataclasses, which would cost it 3 MiB for reading a few words once.
"""

from typing import NamedTuple


class Orders(NamedTuple):
    """Everything the courier knows; paths of certificates and keys, never their content.

    `session` and `fetches` are descriptors of listening sockets that it inherits. With `agent`, a command,
    it starts the agent itself; without, it sends a datagram to `wake`, where a service manager listens.
    """

    device: str
    host: str
    port: int
    authority: str
    certificate: str
    key: str
    keepalive_s: int
    retry_max_s: int
    repository_authority: str
    urls: tuple[str, ...]
    session: int
    fetches: int
    wake: str
    agent: tuple[str, ...]


TEXTS = 6
NUMBERS = 5


def to_words(orders: Orders) -> list[str]:
    """As the words of a command."""
    texts = [
        orders.device,
        orders.host,
        orders.authority,
        orders.certificate,
        orders.key,
        orders.repository_authority,
    ]
    numbers = [
        orders.port,
        orders.keepalive_s,
        orders.retry_max_s,
        orders.session,
        orders.fetches,
    ]
    lists = [str(len(orders.urls)), *orders.urls, *orders.agent]
    return [*texts, *(str(number) for number in numbers), orders.wake, *lists]


def from_words(words: list[str]) -> Orders:
    """From the words of a command, as `to_words` made them."""
    device, host, authority, certificate, key, repository_authority = words[:TEXTS]
    port, keepalive_s, retry_max_s, session, fetches = map(int, words[TEXTS : TEXTS + NUMBERS])
    wake, count, *rest = words[TEXTS + NUMBERS :]
    urls, agent = rest[: int(count)], rest[int(count) :]
    return Orders(
        device=device,
        host=host,
        port=port,
        authority=authority,
        certificate=certificate,
        key=key,
        keepalive_s=keepalive_s,
        retry_max_s=retry_max_s,
        repository_authority=repository_authority,
        urls=tuple(urls),
        session=session,
        fetches=fetches,
        wake=wake,
        agent=tuple(agent),
    )


class BrokerPlace(NamedTuple):
    """The orders as an `Address` of the broker."""

    host: str
    port: int
    authority: str
    certificate: str
    key: str
    keepalive_s: int


class RepositoryPlace(NamedTuple):
    """The orders as the servers of the repository."""

    urls: tuple[str, ...]
    authority: str
