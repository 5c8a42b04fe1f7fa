"""Serves `public/` over HTTPS, with ranges: for a laptop, a test or a small fleet.

It serves files and knows nothing of updates; devices believe only what is signed. A large fleet puts
nginx or a CDN in front of the same folder: `nginx_configuration` has what matters.
"""

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.errors import ConfigError
from fleet.certificates import Holder, identity
from fleet.workspace import Workspace

START_TIMEOUT_S: Final = 15.0
STOP_TIMEOUT_S: Final = 1
BACKLOG: Final = 512
PORT_MAX: Final = 65535
NEVER_CHANGES: Final = re.compile(r"(\d+|[0-9a-f]{64})\.[A-Za-z0-9._-]+|[0-9a-f]{64}")
FOR_EVER: Final = b"public, max-age=31536000, immutable"
ASK_AGAIN: Final = b"no-cache"

Wrap = Callable[[ASGIApp], ASGIApp]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was served so far."""

    requests: int
    sent_bytes: int


class PromptServer(uvicorn.Server):
    """Ends at once: idle clients never answer TLS's goodbye, and cut downloads are resumed."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drop every connection, then end as usual."""
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


class HttpsServer:
    """The server in a thread of this process, for the length of this context. Raises `ConfigError`.

    Port 0 means any free one; `url` says which. `wrap` may put another ASGI application around it.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        port: int,
        bind: str = "127.0.0.1",
        wrap: Wrap | None = None,
    ) -> None:
        self._workspace = workspace
        self._asked_port = port
        self._bind = bind
        self._wrap = wrap
        self._counter: TrafficCounter | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._listener: socket.socket | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port it listens on, once it was started."""
        return self._port

    @property
    def traffic(self) -> Traffic:
        """What was served so far."""
        return self._counter.traffic if self._counter is not None else Traffic(0, 0)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it; return when it listens."""
        server = self._new_server()
        listener = listening_socket(self._bind, self._asked_port)
        self._listener, self._port = listener, listener.getsockname()[1]
        thread = threading.Thread(
            target=server.run, args=([listener],), name="https-server", daemon=True
        )
        self._server, self._thread = server, thread
        thread.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise ConfigError(
                    f"https server on {self._bind}:{self._port}: did not start; "
                    "what it printed above says why"
                )
            time.sleep(0.005)

    def stop(self) -> None:
        """Stop it. A second call does nothing."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(START_TIMEOUT_S)
            self._server = self._thread = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def run(self, listening: Callable[[Path, str, int], None]) -> None:
        """Serve in this thread until the process is asked to end; say so once it listens."""
        server = self._new_server()
        with listening_socket(self._bind, self._asked_port) as listener:
            self._port = listener.getsockname()[1]
            listening(self._workspace.public, self._bind, self._port)
            server.run([listener])

    def _new_server(self) -> uvicorn.Server:
        files = identity(self._workspace, Holder.REPOSITORY)
        self._counter = TrafficCounter(application(self._workspace.public))
        wrapped: ASGIApp = self._wrap(self._counter) if self._wrap else self._counter
        config = uvicorn.Config(
            wrapped,
            ssl_certfile=files.certificate,
            ssl_keyfile=files.key,
            lifespan="off",
            ws="none",
            http="h11",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"{files.certificate}: the repository's certificate and key were expected: {error}; "
                "run `lockgate-fleet init`"
            ) from error
        return PromptServer(config)


def listening_socket(bind: str, port: int) -> socket.socket:
    """A socket that listens already, so that the port is known. Raises `ConfigError`."""
    if not 0 <= port <= PORT_MAX:
        raise ConfigError(f"--port: 0 to {PORT_MAX} was expected, {port} found")
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        return socket.create_server((bind, port), family=family, backlog=BACKLOG)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (")[0]
        raise ConfigError(
            f"{bind}:{port}: cannot listen here: {why}; is the port taken, or the address another "
            "computer's? --port and --bind choose others"
        ) from error


class TrafficCounter:
    """Counts requests and the bytes of bodies, and says how long an answer may be cached."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner
        self._requests = 0
        self._sent_bytes = 0

    @property
    def traffic(self) -> Traffic:
        """What went through so far."""
        return Traffic(self._requests, self._sent_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        self._requests += 1
        name = str(scope.get("path", "")).rpartition("/")[2]

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                lasting = message["status"] in (200, 206, 304) and NEVER_CHANGES.fullmatch(name)
                header = (b"cache-control", FOR_EVER if lasting else ASK_AGAIN)
                message = {**message, "headers": [*message["headers"], header]}
            self._sent_bytes += len(message.get("body", b""))
            await send(message)

        await self._inner(scope, receive, counted)


def application(folder: Path) -> ASGIApp:
    """The files of one folder, without listings and without following links out of it."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: nothing is published yet; run `lockgate-fleet publish`")
    files = StaticFiles(directory=folder, follow_symlink=False)
    return Starlette(routes=[Mount("/", app=files)])  # turns "not found" into an answer


def nginx_configuration(workspace: Workspace, *, port: int, host: str) -> str:
    """A `server` block for nginx that serves the same folder."""
    files = identity(workspace, Holder.REPOSITORY)
    return f"""\
server {{
    listen {port} ssl;
    server_name {host};
    ssl_certificate {files.certificate.absolute()};
    ssl_certificate_key {files.key.absolute()};
    ssl_protocols TLSv1.2 TLSv1.3;

    root {workspace.public.absolute()};
    autoindex off;
    disable_symlinks on;
    gzip off;
    sendfile on;
    tcp_nopush on;

    # Metadata that keeps its name must be asked for again; all else has its version in its name.
    location / {{ add_header Cache-Control "no-cache"; }}
    location ~ "/([0-9]+|[0-9a-f]{{64}})\\.[A-Za-z0-9._-]+$|/[0-9a-f]{{64}}$" {{
        add_header Cache-Control "public, max-age=31536000, immutable";
    }}
}}
"""
