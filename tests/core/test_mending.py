from agent import floor
from agent.journal import Installed, Journal, Tried, store
from agent.mending import mend_floor
from agent.update import State
from simulator.files import SimulatedFiles
from simulator.power import Power
from tests.core.samples import NOON


def ended(counter: int, state: State) -> Tried:
    return Tried(f"to-{counter}", 0, str(counter), counter, state, "ok", "", NOON)


def test_a_floor_that_is_lost_is_as_high_as_all_that_was_ever_confirmed() -> None:
    files = SimulatedFiles(Power())
    history = (ended(3, State.CONFIRMED), ended(4, State.REVERTED))
    store(files, Journal(installed={"a": Installed("1", 1)}, history=history))
    files.content[floor.FILE] = files.content[floor.SPARE] = b"rotten"
    assert "set aside" in mend_floor(files)
    assert floor.load(files).counter == 3


def test_a_floor_that_can_be_read_is_left_alone() -> None:
    files = SimulatedFiles(Power())
    floor.store(files, floor.Floor(counter=7))
    assert mend_floor(files) == ""
    assert floor.load(files).counter == 7
