"""`lockgate-fleet serve`: the published files over HTTPS."""

import argparse
import sys
from pathlib import Path
from urllib.parse import urlsplit

from agent.errors import ConfigError
from fleet.server import HttpsServer, nginx_configuration
from fleet.workspace import Workspace

HTTPS_PORT = 443


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("serve", help="serve public/ over HTTPS")
    parser.add_argument("--port", type=int, metavar="N", help="default: that of repository.url")
    parser.add_argument(
        "--bind",
        default="0.0.0.0",  # noqa: S104  # devices come from outside
        metavar="ADDRESS",
        help="address to listen on (default: %(default)s)",
    )
    parser.add_argument(
        "--print-nginx", action="store_true", help="print the same as an nginx configuration"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, workspace: Workspace) -> int:
    """Serve until interrupted."""
    host, port = _address(workspace.settings().repository_url)
    port = port if options.port is None else options.port
    if options.print_nginx:
        print(nginx_configuration(workspace, port=port, host=host), end="")
        return 0
    HttpsServer(workspace, port=port, bind=options.bind).run(_tell)
    return 0


def _tell(folder: Path, bind: str, port: int) -> None:
    print(f"serving {folder} on {bind}:{port}; stop with Ctrl-C", file=sys.stderr)


def _address(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or HTTPS_PORT
    except ValueError as error:
        raise ConfigError(f"fleet.toml: repository.url: {url!r}: {error}") from error
    return parts.hostname or "", port
