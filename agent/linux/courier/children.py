"""The courier's children: those that fetch, and, where no service manager is, the agent."""

import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Final

from agent.linux.courier.line import Line
from agent.linux.courier.orders import Orders, RepositoryPlace

FETCHERS_MAX: Final = 4
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class Children:
    """Starts them and takes note of their end."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._agent: int | None = None
        self._fetchers: set[int] = set()

    def fetch(self, connection: socket.socket, closed: list[int]) -> None:
        """Fork a child that serves this connection and has nothing else that is open here."""
        with connection:
            if len(self._fetchers) >= FETCHERS_MAX:
                return
            child = os.fork()
            if child:
                self._fetchers.add(child)
                return
            status = 1
            try:
                self._serve(connection, closed)
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)

    @property
    def agent_runs(self) -> bool:
        """Whether the agent that was started here has not ended yet."""
        return self._agent is not None

    def start_agent(self) -> None:
        """Run the agent's command, or wake the service manager that listens for it."""
        if not self._orders.agent:
            sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            with sender, suppress(OSError):  # nobody there yet, or full of calls: asked again
                sender.sendto(b"\n", self._orders.wake)
        elif self._agent is None:
            command = self._orders.agent
            try:
                self._agent = os.posix_spawnp(command[0], command, os.environ, setsigdef=SIGNALS)
            except OSError as error:
                sys.stderr.write(
                    f"lockgate: {command[0]} cannot be started: {error.strerror}; "
                    "check courier.agent in agent.toml\n"
                )

    def reap(self) -> None:
        """Forget those that have ended."""
        for child in [*self._fetchers, *([] if self._agent is None else [self._agent])]:
            with suppress(ChildProcessError):
                if os.waitpid(child, os.WNOHANG)[0] == 0:
                    continue
            self._fetchers.discard(child)
            if child == self._agent:
                self._agent = None

    def _serve(self, connection: socket.socket, closed: list[int]) -> None:
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        for descriptor in closed:
            os.close(descriptor)
        # What fetches is loaded here, and gone with the child.
        from agent.linux.courier.fetching import Fetching  # noqa: PLC0415  # see above
        from agent.linux.repository import HttpsRepository  # noqa: PLC0415  # see above

        servers = RepositoryPlace(self._orders.urls, self._orders.repository_authority)
        Fetching(Line(connection), HttpsRepository(servers)).serve()
