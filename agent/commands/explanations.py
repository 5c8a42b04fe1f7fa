"""What each code means to someone at the device, and the next step: the words of `lockgate explain`."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from agent.commands.by_hand import all_errors
from agent.errors import Retry, UpdateError


@dataclass(frozen=True, slots=True)
class Explanation:
    """One code; `exit_status` and `retry` are empty for codes that stand in reports alone."""

    code: str
    meaning: str
    next_step: str
    exit_status: int | None = None
    retry: str = ""


NEXT_STEPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "error": "read the message; when it says nothing to do, it is a defect: report it",
        "notice": "nothing here; the operator looks who may publish to the notice topics",
        "broker": "nothing, unless it stays so; then run `lockgate doctor`, which tries each step "
        "to the broker by itself",
        "trust": "nothing was used; tell the operator: either signatures are missing and must be "
        "published again, or somebody serves what is not the fleet's",
        "trust-expired": "compare this device's date with a watch (`date -u`) and correct it; when it "
        "is right, the operator must run `lockgate-fleet publish`",
        "trust-rollback": "nothing was used; the operator finds out which server or mirror serves old "
        "files, and publishes there again",
        "fetch": "nothing, unless it stays so; then run `lockgate doctor` and look at the network",
        "fetch-not-found": "nothing, unless it stays so; then the operator publishes again, because a "
        "mirror is incomplete",
        "fetch-tls": "compare `repository.authority` in agent.toml with the authority of the server's "
        "certificate, and this device's date with a watch",
        "payload": "nothing, it is fetched again; when all devices say so, the operator checks the "
        "mirror and makes the payload again",
        "payload-encryption": "the operator makes the payload again: it is not what its own release says",
        "payload-key": "the operator releases it with --encrypt-to this device; `lockgate identity` shows "
        "its key, and agent.toml where that lies",
        "state": "look at the file system of `paths.state`: is it full, mounted read-only, or failing?",
        "busy": "wait for the other lockgate process, or stop it: `systemctl stop lockgate`",
        "install": "look at the kernel's messages (`dmesg`) for the medium of the standby slot; the "
        "running slot was not touched",
        "install-too-large": "the operator makes a smaller image, or the medium is partitioned anew",
        "boot-control": "compare the board with its profile: `lockgate doctor` reads the boot state and "
        "names what differs",
        "flash": "nothing, unless it stays so; then look at the supply and the wiring of the chip",
        "flash-identity": "compare the board with its profile: another chip answers; nothing was "
        "written to it",
        "flash-verify": "nothing, unless it stays so; then the chip is write-protected or worn out",
        "flash-line": "check the wiring, the port and the parity in the board profile, and how the "
        "chip's bootloader is entered",
        "flash-image": "the operator makes the image for the microcontroller again",
        "flash-refused": "read the message: it names the protection or the setting of the chip that "
        "stands in the way",
        "flash-mixed": "look at the chip that the message names, its plug and its supply; the agent "
        "tries again at each of its checks",
        "refused": "read the reasons with `lockgate explain`; a repaired release needs a new issue of "
        "its rollout",
        "refused-hardware": "the operator corrects the rollout's audience or adds an image; compare "
        "`hardware_id` in the board profile",
        "refused-pair": "the operator releases an image for the microcontroller in between, that works "
        "with the system before and after",
        "refused-budget": "the owner of the device allows more in `limits` of agent.toml, or the operator "
        "releases a smaller delta and issues the rollout again",
        "limit": "nothing; `lockgate explain` says what it waits for",
        "limit-budget": "nothing, it goes on the next day; `limits.day_bytes_max` in agent.toml allows more",
        "limit-metered": "nothing, it waits for another link; `lockgate install` takes it over this one",
        "limit-memory": "nothing, unless it stays so; then look at what holds the memory",
        "limit-temperature": "nothing, unless it stays so; then look at the device's cooling and place",
        "config": "correct the file and the key that the message names, then run `lockgate doctor`",
        "profile": "correct the key that the message names, or name the profile of this board in "
        "agent.toml",
    }
)
"""For every class of `agent/errors.py`."""

IN_REPORTS: Final = (
    Explanation("ok", "the update ended well", "nothing"),
    Explanation(
        "unhealthy",
        "a health check failed until the time was up, or someone refused the trial; the device went "
        "back",
        "read the detail in `lockgate history`, repair the release, and issue its rollout again",
    ),
    Explanation(
        "trial-lost",
        "each trial ended without a verdict: the new system did not start, hung, or lost power",
        "look at the console of a device in its trial; then repair the release and issue it again",
    ),
    Explanation(
        "halted",
        "the rollout was halted or withdrawn before this device had switched",
        "nothing; the running slot was not touched",
    ),
)

PLAIN: Final = (
    Explanation("done", "it is done", "nothing", 0),
    Explanation("usage", "the command line was not understood", "see `lockgate --help`", 2),
    Explanation(
        "nothing",
        "there was nothing to do",
        "nothing; `lockgate explain` without a code says why",
        3,
    ),
    Explanation("reboot", "done so far, and the device must reboot to go on", "reboot it", 4),
    Explanation("interrupted", "stopped from the keyboard", "nothing; it resumes", 130),
)


def next_step(code: str) -> str:
    """What to do about the error of this code."""
    return NEXT_STEPS.get(code, NEXT_STEPS["error"])


def explanations() -> tuple[Explanation, ...]:
    """Every code and every exit status."""
    return (*map(_of_error, all_errors()), *IN_REPORTS, *PLAIN)


def find(code: str) -> tuple[Explanation, ...]:
    """What a code or an exit status means; empty when nothing has it."""
    return tuple(one for one in explanations() if code == one.code or code == str(one.exit_status))


def _of_error(kind: type[UpdateError]) -> Explanation:
    meaning = " ".join((kind.__doc__ or "").split()).rstrip(".")
    return Explanation(
        code=kind.code,
        meaning=meaning[:1].lower() + meaning[1:],
        next_step=next_step(kind.code),
        exit_status=kind.exit_status,
        retry="yes, by itself" if kind.retry is Retry.LATER else "no",
    )
