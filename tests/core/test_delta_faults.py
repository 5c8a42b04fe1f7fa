"""A fault that passes, in the middle of a delta: it is no reason to do without the delta."""

from dataclasses import dataclass, replace

import pytest

from agent.errors import FetchError, InstallError
from agent.install import Job, Meter, install
from agent.interfaces import ByteStream
from tests.core.payloads import Mirror, Slot, noise
from tests.core.test_delta import IMAGE, make_bench


@dataclass(slots=True)
class Overloaded:
    """A `Repository` that refuses one request, by its number, as a busy server does."""

    mirror: Mirror
    refused: int
    asked: int = 0

    def open(self, path: str, offset: int, length_max: int) -> ByteStream:
        """The bytes from offset on, but for that one time."""
        self.asked += 1
        if self.asked == self.refused:
            raise FetchError("the server is overloaded")
        return self.mirror.open(path, offset, length_max)


@pytest.mark.parametrize("request_number", range(1, 4))
def test_a_server_that_refuses_one_request_is_not_asked_for_the_full_payload_instead(
    request_number: int,
) -> None:
    bench = make_bench()
    job = Job(bench.installation, bench.slot, bench.base)
    server = Overloaded(bench.mirror, request_number)
    with pytest.raises(FetchError, match="overloaded"):
        install((job,), server, Meter(), lambda: None)
    path = bench.installation.payload.path
    assert [name for name, _ in bench.mirror.opened if name == path] == []


@dataclass(slots=True)
class FailingOnce(Slot):
    """A slot of which one flush fails, by its number."""

    failing: int = 0
    flushes: int = 0

    def flush_behind(self) -> None:
        """As `flush`."""
        self.flush()

    def flush(self) -> None:
        """Make them durable, but for that one time."""
        self.flushes += 1
        if self.flushes == self.failing:
            raise InstallError("the medium does not flush")
        Slot.flush(self)


def test_a_flush_that_fails_between_two_windows_of_a_delta_ends_the_installation_at_once() -> None:
    bench = make_bench()
    job = Job(bench.installation, FailingOnce(bench.slot.content, bench.mirror), bench.base)
    install((job,), bench.mirror, Meter(), lambda: None, flush_bytes=1)
    assert isinstance(job.device, FailingOnce)
    for failing in range(1, job.device.flushes + 1):
        content = bytearray(noise(len(IMAGE), 50))
        slot = FailingOnce(content, bench.mirror, failing=failing)
        with pytest.raises(InstallError, match="does not flush"):
            install(
                (replace(job, device=slot),), bench.mirror, Meter(), lambda: None, flush_bytes=1
            )
        assert slot.flushes == failing, "nothing is done after it"
