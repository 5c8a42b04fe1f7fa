"""System calls as `strace -f -y` shows them, and which of them change something that lasts."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TRACED: Final = "%file,%desc"
"""Every call on files and descriptors, as strace groups them."""
LINE: Final = re.compile(r"^(?P<thread>\d+)\s+(?P<rest>.*)$")
CALL: Final = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>.*)$", re.DOTALL)
UNFINISHED: Final = " <unfinished ...>"
RESUMED: Final = re.compile(r"^<\.\.\. \w+ resumed>(?P<rest>.*)$")
DESCRIPTOR: Final = re.compile(r"(-?\d+|AT_FDCWD)<(?P<path>[^>]*)>")
QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"(?:\.\.\.)?')
NUMBER: Final = re.compile(r"\d+")

CONTENT: Final = frozenset(("write", "writev", "pwrite64", "pwritev", "pwritev2"))
SYNC: Final = frozenset(("fsync", "fdatasync", "sync_file_range", "syncfs", "sync", "msync"))
NAMES: Final = frozenset(
    ("rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat")
)
LENGTHS: Final = frozenset(("truncate", "ftruncate", "fallocate"))
ELSEWHERE: Final = (
    frozenset(
        (
            "link",
            "linkat",
            "symlink",
            "symlinkat",
            "mknod",
            "mknodat",
            "chmod",
            "fchmod",
            "fchmodat",
        )
    )
    | {"chown", "fchown", "fchownat", "lchown", "utimensat", "setxattr", "fsetxattr"}
    | {
        *("sendfile", "splice", "tee", "copy_file_range", "vmsplice", "io_uring_enter"),
    }
)
OPENS: Final = frozenset(("open", "openat", "openat2", "creat"))
ALWAYS_DURABLE: Final = CONTENT | SYNC | NAMES | LENGTHS | ELSEWHERE
DURABLE: Final = ",".join(sorted(f"?{name}" for name in ALWAYS_DURABLE | OPENS | {"ioctl", "mmap"}))
"""Every call that may change what lasts, as strace takes it; a name that a machine has not is no error."""


@dataclass(frozen=True, slots=True)
class Call:
    """One system call, in the order in which calls ended.

    `paths` are absolute: of descriptors, and of names resolved against the folder they belong to.
    """

    number: int
    thread: int
    name: str
    arguments: str
    result: str
    paths: tuple[str, ...]

    @property
    def failed(self) -> bool:
        """Whether it returned an error."""
        return self.result.startswith("-1")

    @property
    def text(self) -> str:
        """The line for people."""
        return f"{self.name}({self.arguments}) = {self.result}"

    def numbers_at_end(self, count: int) -> tuple[int, ...]:
        """The last arguments, which are numbers: a length and an offset, for example."""
        return tuple(int(word) for word in self.arguments.rsplit(", ", count)[1:])


def is_durable(call: Call) -> bool:
    """Whether a call may change what lasts, failed or not."""
    if call.name in OPENS:
        return "O_CREAT" in call.arguments or "O_TRUNC" in call.arguments or call.name == "creat"
    if call.name == "ioctl":
        return bool(
            re.search(
                r"BLK(FLSBUF|DISCARD|ZEROOUT|SECDISCARD|ROSET)|FI(CLONE|DEDUP)", call.arguments
            )
        )
    if call.name == "mmap":
        return "PROT_WRITE" in call.arguments and "MAP_SHARED" in call.arguments
    return call.name in ALWAYS_DURABLE


def touches(call: Call, folders: Iterable[Path]) -> bool:
    """Whether a call names something in one of these folders, or a folder itself."""
    places = [str(folder) for folder in folders]
    return any(
        path == place or path.startswith(place + "/") for path in call.paths for place in places
    )


def read_trace(file: Path) -> list[Call]:
    """Every call of a trace; one that another thread interrupted is put together again."""
    return [
        call
        for number, (thread, text) in enumerate(_whole_lines(file.read_text(errors="replace")))
        if (call := _call(number, thread, text)) is not None
    ]


def _whole_lines(text: str) -> Iterator[tuple[int, str]]:
    begun: dict[int, str] = {}
    for line in text.splitlines():
        match = LINE.match(line)
        if match is None:
            continue
        thread, rest = int(match["thread"]), match["rest"]
        if rest.endswith(UNFINISHED):
            begun[thread] = rest.removesuffix(UNFINISHED)
            continue
        resumed = RESUMED.match(rest)
        if resumed is not None:
            rest = begun.pop(thread, "") + resumed["rest"]
        yield thread, rest


def _call(number: int, thread: int, text: str) -> Call | None:
    match = CALL.match(text)
    if match is None:
        return None
    name, arguments = match["name"], match["arguments"]
    return Call(number, thread, name, arguments, match["result"], _paths(name, arguments))


def _paths(name: str, arguments: str) -> tuple[str, ...]:
    """The paths of a call: each quoted name belongs to the descriptor before it, if there is one."""
    if name in CONTENT or name in ("read", "pread64", "readv"):
        found = DESCRIPTOR.match(arguments)
        return (found["path"],) if found else ()
    paths: list[str] = []
    folder = ""
    for match in re.finditer(f"{DESCRIPTOR.pattern}|{QUOTED.pattern}", arguments):
        if match["path"] is not None:
            folder = match["path"]
            paths.append(folder)
        else:
            leaf = match.group(3)
            paths.append(leaf if leaf.startswith("/") or not folder else f"{folder}/{leaf}")
    return tuple(paths)
