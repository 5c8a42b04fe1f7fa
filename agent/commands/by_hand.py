"""Moves an update without the service, for someone at the device: the same runner, up to the reboot."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from agent.commands.outlook import load_journal
from agent.commands.output import size_words, time_words
from agent.device import Device
from agent.errors import RefusedError, UpdateError
from agent.health import Verdict
from agent.install import Meter
from agent.journal import Journal
from agent.runner import Hooks, Reboot, Runner
from agent.update import State, Update

REBOOT_DUE: Final = 4
STEPS_MAX: Final = 16
DRAW_EVERY_S: Final = 0.2
BEFORE_THE_SWITCH: Final = (State.ACCEPTED, State.PLANNED)


@dataclass(frozen=True, slots=True)
class Result:
    """How far an update came; `outcome` is its state, `rebooting` or `reboot-needed`."""

    outcome: str
    update: Update
    exit_status: int

    def document(self) -> dict[str, object]:
        """The result as JSON, as `docs/commands.md` has it."""
        return {
            "outcome": self.outcome,
            "release": self.update.release,
            "rollout": self.update.rollout,
            "slot": self.update.target,
            "code": self.update.code,
            "detail": self.update.detail,
            "fetched_bytes": self.update.fetched_bytes,
            "written_bytes": self.update.written_bytes,
        }

    def line(self) -> str:
        """The result for people."""
        why = f": {self.update.code}: {self.update.detail}" if self.update.code != "ok" else ""
        hint = "; run this again with --reboot yes, or start the service"
        return (
            f"release {self.update.release} on slot {self.update.target}: {self.outcome}{why}"
            f"{hint if self.outcome == 'reboot-needed' else ''}"
        )


class ByHand:
    """One device whose lock this process holds."""

    def __init__(self, device: Device, *, draw: bool, verdict: Verdict | None = None) -> None:
        self._device = device
        self._bar = ProgressLine(device.world.clock.monotonic_s) if draw else None
        self._verdict = verdict
        hooks = Hooks(tend=self._tend, asked=lambda: self._verdict, changed=lambda _: None)
        self.runner = Runner(device, Journal(), hooks)

    def begin(self) -> Update | None:
        """Settle what the last boot left; the update that is under way, if there is one."""
        journal = self.runner.journal = load_journal(self._device)
        booted = self._device.boot.booted()
        if journal.update is None and booted not in journal.installed:
            made_with = self._device.running(journal)
            installed = {**journal.installed, booted: made_with}
            self.runner.record(replace(journal, installed=installed))
        self.runner.settle()
        return self.runner.update

    def trial(self) -> Update | None:
        """The update whose trial runs now."""
        update = self.runner.update
        return update if update is not None and update.state is State.TRIAL else None

    def install(self) -> None:
        """Take the steps up to a whole standby slot. Raises what may succeed later."""
        try:
            for _ in range(STEPS_MAX):
                update = self.runner.update
                if update is None or update.state not in BEFORE_THE_SWITCH:
                    break
                self.runner.step()
        finally:
            if self._bar is not None:
                self._bar.end()

    def finish(self, *, reboot: bool) -> Result:
        """Go on to the reboot, or stop before it; an update that ended is told with its status."""
        for _ in range(STEPS_MAX):
            update = self.runner.journal.update
            assert update is not None, "there is an update to finish"
            if update.finished:
                return Result(update.state.value, update, _status_of(update))
            if not reboot:
                return Result("reboot-needed", update, REBOOT_DUE)
            due = self.runner.step()
            if isinstance(due, Reboot):
                self._device.world.system.reboot(due.argument)
                return Result("rebooting", self.runner.update or update, 0)
        raise AssertionError("an update has fewer steps than this")

    def _tend(self, timeout_s: float) -> bool:
        if timeout_s > 0:
            time.sleep(timeout_s)
        if self._bar is not None:
            self._bar.draw(self.runner.meter)
        return False


class ProgressLine:
    """One line on the standard error that is drawn over itself."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._start_s: float | None = None
        self._drawn_s = float("-inf")

    def draw(self, meter: Meter) -> None:
        """Show how far it is, how fast, and how long it still takes."""
        now_s = self._monotonic_s()
        if self._start_s is None:
            self._start_s = now_s
        if now_s - self._drawn_s < DRAW_EVERY_S:
            return
        self._drawn_s = now_s
        sys.stderr.write(f"\r\033[K{progress_words(meter, now_s - self._start_s)}")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._start_s is not None:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def progress_words(meter: Meter, elapsed_s: float) -> str:
    """Written and read back, of what there is to write and to read back."""
    done, total = meter.done_bytes, max(1, meter.total_bytes)
    told = f"installing {100 * done // total:3} %  {size_words(done)} of {size_words(total)}"
    if elapsed_s >= 1 and done:
        rate = done / elapsed_s
        told += f"  {size_words(rate)}/s  {time_words((total - done) / rate)} left"
    return told


def unexamined(device: Device) -> Device:
    """The same device without health checks: someone's word stands in for them."""
    confirm = replace(device.profile.confirm, checks=())
    return replace(device, profile=replace(device.profile, confirm=confirm))


def refuse_trial(update: Update) -> RefusedError:
    """What to say to someone who wants an update while a trial waits for its verdict."""
    return RefusedError(
        f"a settled device was expected, release {update.release} is on slot {update.target} in state "
        f"{update.state}; `lockgate confirm` keeps it, `lockgate revert` goes back, the service judges"
    )


def is_terminal() -> bool:
    """Whether someone watches."""
    return sys.stderr.isatty()


def _status_of(update: Update) -> int:
    """The exit status of an update that ended: that of the error which ended it."""
    if update.state is State.CONFIRMED:
        return 0
    for kind in all_errors():
        if kind.code == update.code:
            return kind.exit_status
    return UpdateError.exit_status


def all_errors(root: type[UpdateError] = UpdateError) -> tuple[type[UpdateError], ...]:
    """The root and every class below it that has a code of its own."""
    below = (found for kind in root.__subclasses__() for found in all_errors(kind))
    own = (root,) if "code" in vars(root) else ()
    return (*own, *below)
