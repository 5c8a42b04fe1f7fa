"""The courier's listening sockets: given by a service manager, or made in the runtime folder.

`RUNTIME/courier` is for the agent's session, `RUNTIME/fetches` for its fetches. A service manager passes
them in this order (sd_listen_fds(3)); it makes them for root alone.
"""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from agent.errors import BusyError, StateError
from agent.linux.folders import make_private, parent_of

SESSION: Final = "courier"
FETCHES: Final = "fetches"
FIRST_PASSED: Final = 3  # sd_listen_fds(3): SD_LISTEN_FDS_START
BACKLOG: Final = 8


def passed(environment: Mapping[str, str]) -> tuple[int, ...]:
    """The descriptors that a service manager has passed to this very process."""
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return ()
    count = environment.get("LISTEN_FDS", "")
    if not count.isdecimal() or len(count) > 2:
        return ()
    return tuple(range(FIRST_PASSED, FIRST_PASSED + int(count)))


def listen(runtime: str, environment: Mapping[str, str]) -> tuple[int, int]:
    """Descriptors for sessions and for fetches, which a program that is executed inherits.

    Raises `BusyError` when another courier listens there, `StateError` when nobody can.
    """
    found = passed(environment)
    if len(found) == 2:
        session, fetches = found
    else:
        session, fetches = _made(f"{runtime}/{SESSION}"), _made(f"{runtime}/{FETCHES}")
    for descriptor in (session, fetches):
        os.set_inheritable(descriptor, True)
    return session, fetches


def _made(path: str) -> int:
    """A socket for this user alone; the path is taken over from a courier that was killed."""
    if answers(path):
        raise BusyError(f"{path} is in use by another courier; stop that one first")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        make_private(parent_of(path))
        with suppress(FileNotFoundError):
            os.unlink(path)
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StateError(
            f"cannot listen at {path}: {error.strerror or error}; "
            f"paths.runtime must be a short path in memory that lockgate may write"
        ) from error
    return listener.detach()


def answers(path: str) -> bool:
    """Whether somebody listens at a path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
        try:
            caller.connect(path)
        except OSError:
            return False
    return True
