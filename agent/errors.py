"""Every expected failure, cut by what must happen next; nothing else in the agent raises for bad input.

Each class has a `code`, which is stable, travels in reports and sets the exit status of a command
(`docs/exit-codes.md`), and a `retry`: whether trying again later can help without anyone's action.
A broken invariant is not one of these: it is an `AssertionError`, and the process ends and resumes.
"""

from enum import StrEnum
from typing import ClassVar


class Retry(StrEnum):
    """Whether the same attempt may succeed later without anyone changing anything."""

    NEVER = "never"
    LATER = "later"


class UpdateError(Exception):
    """The root of every expected failure; its message says what was expected, found and to do."""

    code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 1
    retry: ClassVar[Retry] = Retry.NEVER


class NoticeError(UpdateError):
    """A message on a notice topic is not a notice: it is ignored and counted."""

    code = "notice"
    exit_status = 6


class BrokerError(UpdateError):
    """The broker cannot be reached, refuses us, or went away."""

    code = "broker"
    exit_status = 10
    retry = Retry.LATER


class TrustError(UpdateError):
    """Something that must be signed is not, or not by enough of the right keys."""

    code = "trust"
    exit_status = 11


class ExpiredError(TrustError):
    """Signed metadata is past its date: the repository is frozen, or this clock is wrong."""

    code = "trust-expired"
    exit_status = 12
    retry = Retry.LATER


class RollbackError(TrustError):
    """Validly signed, but older than what this device has already trusted."""

    code = "trust-rollback"
    exit_status = 13


class FetchError(UpdateError):
    """The repository did not give the bytes: the network, the server, or the path to it."""

    code = "fetch"
    exit_status = 20
    retry = Retry.LATER


class NotFoundError(FetchError):
    """The repository has nothing under this path."""

    code = "fetch-not-found"


class UntrustedServerError(FetchError):
    """The server's certificate is not from the authority that this device was given."""

    code = "fetch-tls"
    exit_status = 14


class PayloadError(UpdateError):
    """A payload's bytes are not those that the release vouches for; nothing of them was written."""

    code = "payload"
    exit_status = 22
    retry = Retry.LATER


class DecryptionError(PayloadError):
    """An encrypted payload does not open where it should; nothing of it was written."""

    code = "payload-encryption"
    exit_status = 23


class RecipientError(PayloadError):
    """A payload is encrypted, and not to the key of this device."""

    code = "payload-key"
    exit_status = 24
    retry = Retry.NEVER


class StateError(UpdateError):
    """The agent's own small files cannot be written or read, for example because the disk is full."""

    code = "state"
    exit_status = 21
    retry = Retry.LATER


class BusyError(UpdateError):
    """Another lockgate process holds this device's state."""

    code = "busy"
    exit_status = 5
    retry = Retry.LATER


class InstallError(UpdateError):
    """The standby slot did not take the image; the active slot is untouched."""

    code = "install"
    exit_status = 30
    retry = Retry.LATER


class TooLargeError(InstallError):
    """An image is larger than the part of the slot that it is for."""

    code = "install-too-large"
    exit_status = 33
    retry = Retry.NEVER


class BootControlError(UpdateError):
    """The boot state cannot be read or is not as the board profile says; stop before switching."""

    code = "boot-control"
    exit_status = 32


class FlashError(UpdateError):
    """A microcontroller did not take its image; it can be flashed again."""

    code = "flash"
    exit_status = 50
    retry = Retry.LATER


class FlashIdentityError(FlashError):
    """Another chip than the profile names answers, or it changed under way; nothing more is written."""

    code = "flash-identity"
    exit_status = 51
    retry = Retry.NEVER


class FlashVerifyError(FlashError):
    """The chip said that it had written, and holds something else."""

    code = "flash-verify"
    exit_status = 52


class FlashLineError(FlashError):
    """The serial line is gone, silent, or carries what no bootloader says."""

    code = "flash-line"
    exit_status = 53


class FlashImageError(FlashError):
    """The image for a microcontroller is malformed, or does not fit its flash."""

    code = "flash-image"
    exit_status = 54
    retry = Retry.NEVER


class FlashRefusedError(FlashError):
    """The chip is protected against reading or writing, or its settings do not allow to begin."""

    code = "flash-refused"
    exit_status = 55
    retry = Retry.NEVER


class MixedError(FlashError):
    """Beside the system that runs is a microcontroller that does not hold what belongs there."""

    code = "flash-mixed"
    exit_status = 56


class RefusedError(UpdateError):
    """Signed and intact, but not for this device: another hardware id, halted, or tried and failed."""

    code = "refused"
    exit_status = 40


class HardwareError(RefusedError):
    """The release has no image for this device's hardware id."""

    code = "refused-hardware"
    exit_status = 41


class PairError(RefusedError):
    """A system and a microcontroller's image would meet that are not made for each other."""

    code = "refused-pair"
    exit_status = 42


class UpdateBudgetError(RefusedError):
    """An update needs more bytes than the owner of this device allows for one."""

    code = "refused-budget"
    exit_status = 43


class LimitError(UpdateError):
    """The owner's limits hold an update up; it goes on by itself, after `again_s` or when asked to."""

    code = "limit"
    exit_status = 60
    retry = Retry.LATER

    def __init__(self, message: str, *, again_s: float = 900.0) -> None:
        super().__init__(message)
        self.again_s = again_s


class BudgetError(LimitError):
    """What may be fetched in a day is spent."""

    code = "limit-budget"
    exit_status = 61


class MeteredError(LimitError):
    """The link costs money by the byte, and the update may not be fetched over such a one."""

    code = "limit-metered"
    exit_status = 62


class LowMemoryError(LimitError):
    """Too little memory is available for an installation."""

    code = "limit-memory"
    exit_status = 63


class HeatError(LimitError):
    """The device is too hot for an installation."""

    code = "limit-temperature"
    exit_status = 64


class ConfigError(UpdateError):
    """`agent.toml`, or a file that it names, is not as it must be."""

    code = "config"
    exit_status = 78


class ProfileError(UpdateError):
    """The board profile is not as it must be, or does not fit this board."""

    code = "profile"
    exit_status = 79
