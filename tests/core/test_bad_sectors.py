"""A medium that cannot read a small file any more, and takes it when it is written anew elsewhere."""

from dataclasses import dataclass, field

import pytest

from agent import budget, floor
from agent import journal as journals
from agent.errors import StateError
from agent.frugal import Frugal, Range
from agent.journal import Installed, Journal
from agent.limits import LimitSettings
from agent.mending import journal_anew, load_or_none, mend_floor
from simulator.clock import SimulatedClock
from simulator.files import SimulatedFiles
from simulator.power import Power
from simulator.repository import MemorySource, SimulatedRepository
from tests.core.clients import Client, make_client
from tests.core.tuf_repository import make_repository


@dataclass(slots=True)
class WornFiles(SimulatedFiles):
    """Small files of which some lie on bad sectors."""

    bad: set[str] = field(default_factory=set)

    def read(self, name: str) -> bytes | None:
        """The content, if it can be read."""
        if name in self.bad:
            raise StateError(f"cannot read {name}: Input/output error; check the medium")
        return SimulatedFiles.read(self, name)

    def replace(self, name: str, content: bytes) -> None:
        """Store content, in other sectors."""
        SimulatedFiles.replace(self, name, content)
        self.bad.discard(name)


def worn_client() -> tuple[Client, WornFiles]:
    client, files = make_client(make_repository()), WornFiles(Power())
    client.files = files
    client.look()
    return client, files


def test_metadata_that_cannot_be_read_is_fetched_and_verified_again() -> None:
    client, files = worn_client()
    kept = [name for name in files.content if "/" in name]
    assert kept
    for name in kept:
        files.bad = {name}
        assert client.look().versions["root"] == 1
        assert files.bad == set(), "it was stored elsewhere"


@pytest.mark.parametrize("copy", [floor.FILE, floor.SPARE])
def test_one_copy_of_the_floor_is_enough(copy: str) -> None:
    client, files = worn_client()
    known = client.floor
    files.bad = {copy}
    assert client.floor == known
    assert mend_floor(files) == ""


def test_a_floor_without_a_copy_that_can_be_read_is_made_anew() -> None:
    _, files = worn_client()
    journals.store(files, Journal(installed={"a": Installed("2026.1", 3)}))
    files.bad = {floor.FILE, floor.SPARE}
    assert "set aside" in mend_floor(files)
    assert floor.load(files).counter == 3


def test_a_journal_that_cannot_be_read_is_begun_anew_with_an_alarm() -> None:
    client, files = worn_client()
    journals.store(files, Journal())
    files.bad = {journals.FILE}
    assert load_or_none(files) is None
    journal = journal_anew(client.device())
    assert [report.code for report in journal.reports] == ["state"]
    journals.store(files, journal)
    assert load_or_none(files) == journal


def test_what_limits_keep_costs_no_update_when_it_cannot_be_read() -> None:
    files, clock = WornFiles(Power()), SimulatedClock()
    files.bad = {budget.FILE}
    assert budget.load(files) is None
    count = budget.Budget(files, clock, LimitSettings())
    repository = SimulatedRepository(MemorySource({}), clock)
    one = Range("blobs/" + "ab" * 32, 0, 10)
    files.bad = {one.name}
    Frugal(repository, files, clock, count, 0).expect([one])
    assert one.content == b""
