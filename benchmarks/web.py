"""nginx over HTTPS and HTTP for one folder: the same server for everyone, which counts what it sends."""

import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

HOST: Final = "localhost"
START_TIMEOUT_S: Final = 10.0
SCRATCH: Final = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
SETTINGS: Final = """
daemon off;
user root;
worker_processes 1;
pid {own}/pid;
error_log {own}/errors;
events {{ worker_connections 256; }}
http {{
    {scratch}
    log_format counted '$body_bytes_sent $request_uri';
    access_log {own}/sent counted;
    sendfile on;
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{tls_port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        root {root};
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Sent:
    """What the server has sent: bytes of bodies, and how many of them."""

    body_bytes: int
    requests: int

    def __sub__(self, before: "Sent") -> "Sent":
        """What was sent since."""
        return Sent(self.body_bytes - before.body_bytes, self.requests - before.requests)


class WebServer:
    """Serves `root` for the length of this context; `own` is a folder for its own files."""

    def __init__(self, root: Path, own: Path, certificate: str, key: str) -> None:
        self._root = root
        self._own = own
        self._identity = certificate, key
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.tls_port = 0

    def __enter__(self) -> Self:
        """Start it; return when it listens."""
        self.port, self.tls_port = _free_ports()
        shutil.rmtree(self._own, ignore_errors=True)
        self._own.mkdir(parents=True)
        settings = self._own / "nginx.conf"
        settings.write_text(self._settings())
        command = ["nginx", "-c", str(settings)]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not _listens(self.tls_port):
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"nginx did not start: {(self._own / 'errors').read_text()}")
            time.sleep(0.02)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    @property
    def sent(self) -> Sent:
        """All that was sent since the start, HEAD requests and errors too."""
        lines = (self._own / "sent").read_text().splitlines()
        return Sent(sum(int(line.split(" ", 1)[0]) for line in lines), len(lines))

    def url(self, name: str, *, tls: bool = True) -> str:
        """The address of a file of the folder."""
        return (
            f"https://{HOST}:{self.tls_port}/{name}" if tls else f"http://{HOST}:{self.port}/{name}"
        )

    def _settings(self) -> str:
        certificate, key = self._identity
        scratch = "\n".join(f"{name}_temp_path {self._own}/{name};" for name in SCRATCH)
        return SETTINGS.format(
            own=self._own,
            root=self._root,
            scratch=scratch,
            certificate=certificate,
            key=key,
            port=self.port,
            tls_port=self.tls_port,
        )


def _free_ports() -> tuple[int, int]:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        return one.getsockname()[1], two.getsockname()[1]


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
