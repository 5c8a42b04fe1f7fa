"""Whether anything is done before what it depends on is durable, followed through process after process.

A process that is killed leaves writes that a later one can read and that a power cut would still
take away. So what counts as durable is followed from call to call, whoever made it: a name that was
changed waits for the sync of its folder, bytes on a medium for the sync of that medium.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from agent.journal import FILE as JOURNAL
from agent.linux.files import UNFINISHED
from tests.witness.calls import CONTENT, Call, is_durable


@dataclass(slots=True)
class Durability:
    """What is not durable yet, and every act that came too early.

    The rules: a record of the update, a report and a reboot wait for every medium; writing a medium, a
    report and a reboot wait for every name in the state folder.
    """

    device: Path
    around: Path
    media: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    last: Call | None = None
    before_reboots: list[Call | None] = field(default_factory=list)
    """The last call that changed or synced anything of the device before each reboot was asked for."""

    def follow(self, calls: Iterable[Call]) -> None:
        """Go through the calls of one more process."""
        for call in calls:
            if not call.failed and not call.result.startswith("?"):
                self._follow(call)

    def power_lost(self) -> None:
        """Nothing of what was not durable is there any more."""
        self.media.clear()
        self.names.clear()

    def _follow(self, call: Call) -> None:
        own = [path for path in call.paths if path.startswith(f"{self.device}/")]
        if call.name in CONTENT and call.paths:
            self._write(call, call.paths[0])
        elif call.name in ("fsync", "fdatasync") and call.paths:
            self._sync(call.paths[0])
        elif call.name.startswith(("rename", "unlink")) and own:
            self._name(call, own[-1])
        if own and is_durable(call):
            self.last = call

    def _write(self, call: Call, path: str) -> None:
        if path.startswith(f"{self.device}/medium/"):
            self._expect_names(call)
            self.media.add(path)
        elif path in (f"{self.around}/fleet.log", f"{self.around}/reboot"):
            self._expect_media(call)
            self._expect_names(call)
            if path.endswith("/reboot"):
                self.before_reboots.append(self.last)

    def _name(self, call: Call, path: str) -> None:
        if path.endswith(UNFINISHED):
            return  # nobody reads it
        if path.endswith(f"/{JOURNAL}"):
            self._expect_media(call)
        self.names[path] = path.rpartition("/")[0]

    def _sync(self, path: str) -> None:
        self.media.discard(path)
        self.names = {name: folder for name, folder in self.names.items() if folder != path}

    def _expect_media(self, call: Call) -> None:
        if self.media:
            self.findings.append(f"{sorted(self.media)} not synced before {call.text[:300]}")

    def _expect_names(self, call: Call) -> None:
        if self.names:
            self.findings.append(f"{sorted(self.names)} not synced before {call.text[:300]}")
