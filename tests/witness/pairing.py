"""Whether the seams tell the truth: every durable system call belongs to a seam call, and is its kind.

The recorded seams write `begin` and `end` lines to a log; the trace shows these among all other calls.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.linux.files import UNFINISHED
from tests.witness.calls import CONTENT, Call, is_durable, touches

SEAM_LINE: Final = re.compile(r'"(begin|end|fail) ([\w.]+) ?(.*)\\n"')
PREPARING: Final = re.compile(r"(?:mkdir \S+\n)*(?:fsync \S*\n)*")
LOOKING: Final = re.compile(r"(?:fsync state\S*\n)?")
"""The first read of a folder in a process makes durable what an earlier one left."""
SILENT: Final = frozenset(("Files.read", "Files.names", "BlockDevice.read", "System.reboot"))


@dataclass(slots=True)
class SeamCall:
    """One call of a seam, and the durable system calls inside it."""

    method: str
    detail: str
    calls: list[Call] = field(default_factory=list)
    failed: bool = False

    @property
    def text(self) -> str:
        """For people, and for comparing with the simulator."""
        return f"{self.method} {self.detail}".strip()


@dataclass(slots=True)
class Pairing:
    """What a trace says of the seams: their calls in order, and every line that is none of theirs."""

    device: Path
    log: Path
    seams: list[SeamCall] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    def read(self, calls: Iterable[Call]) -> None:
        """Go through the calls of one process."""
        current: SeamCall | None = None
        for call in calls:
            line = self._seam_line(call)
            if line is not None:
                current = self._turn(current, *line)
            elif is_durable(call) and touches(call, (self.device,)):
                if current is None:
                    self.findings.append(f"outside of every seam: {call.text}")
                else:
                    current.calls.append(call)
        if current is not None:
            self.findings.append(f"never ended: {current.text}")

    def _seam_line(self, call: Call) -> tuple[str, str, str] | None:
        if call.name != "write" or call.paths != (str(self.log),):
            return None
        match = SEAM_LINE.search(call.arguments)
        assert match is not None, f"a line of the seam log was expected, found {call.arguments}"
        return match[1], match[2], match[3]

    def _turn(
        self, current: SeamCall | None, word: str, method: str, detail: str
    ) -> SeamCall | None:
        if word == "begin":
            if current is not None:
                self.findings.append(f"{method} inside {current.text}")
            begun = SeamCall(method, detail)
            self.seams.append(begun)
            return begun
        assert current is not None, f"{word} of {method} without a beginning"
        current.failed = word == "fail"
        if not current.failed:
            self.findings.extend(f"{current.text}: {told}" for told in self._judge(current))
        return None

    def _judge(self, seam: SeamCall) -> list[str]:
        """What is wrong with the system calls of one seam call that says it did its work."""
        shape = "".join(f"{self._token(call)}\n" for call in seam.calls)
        if seam.method in SILENT:
            return [] if LOOKING.fullmatch(shape) else [f"nothing was to change, found\n{shape}"]
        name, _, rest = seam.detail.partition(" ")
        match seam.method:
            case "Files.replace":
                return self._judge_replace(seam, shape, name, int(rest))
            case "Files.remove":
                folder = name.rpartition("/")[0]
                wanted = f"unlinkat state/{name}\nfsync state{'/' * bool(folder)}{folder}\n"
                return [] if shape in ("", wanted) else [f"expected\n{wanted}found\n{shape}"]
            case "BlockDevice.write":
                return self._judge_write(seam, name, rest)
            case "BlockDevice.flush":
                wanted = f"fsync {self._relative(name)}\n"
                return [] if shape == wanted else [f"expected\n{wanted}found\n{shape or 'nothing'}"]
            case _:
                return [f"a seam that nobody knows: {seam.method}"]

    def _judge_replace(self, seam: SeamCall, shape: str, name: str, length: int) -> list[str]:
        new = f"state/{name}{UNFINISHED}"
        folder = f"state/{name}".rpartition("/")[0]
        wanted = re.compile(
            PREPARING.pattern
            + re.escape(f"unlinkat {new}\nopenat {new}\n")
            + f"(?:{re.escape(f'write {new}')}\n)*"
            + re.escape(f"fsync {new}\nrenameat {new} state/{name}\nfsync {folder}\n")
        )
        findings = []
        if not wanted.fullmatch(shape):
            findings.append(f"new file, sync, rename, sync of the folder expected, found\n{shape}")
        written = sum(int(call.result) for call in seam.calls if call.name == "write")
        if written != length:
            findings.append(f"{length} bytes expected, {written} written")
        return findings

    def _judge_write(self, seam: SeamCall, path: str, place: str) -> list[str]:
        offset, _, length = place.partition("+")
        at = int(offset)
        for call in seam.calls:
            if call.name != "pwrite64" or call.paths != (path,) or call.numbers_at_end(1) != (at,):
                return [f"a pwrite at {at} expected, found {call.text}"]
            at += int(call.result)
        return [] if at == int(offset) + int(length) else [f"only {at - int(offset)} bytes written"]

    def _token(self, call: Call) -> str:
        """A call as its name and the files it is about."""
        if call.name in CONTENT or call.name in ("fsync", "fdatasync"):
            names = call.paths
        elif call.name.endswith(("at", "at2")):
            names = call.paths[1::2]  # each after the folder it lies in
        else:
            names = call.paths
        return " ".join((call.name, *(self._relative(name) for name in names)))

    def _relative(self, path: str) -> str:
        folder = str(self.device)
        return path.removeprefix(folder).removeprefix("/") if path.startswith(folder) else path
