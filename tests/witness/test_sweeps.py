import pytest

from simulator.image import Behaviour
from simulator.profiles import profile_names
from tests.witness.kill_sweep import quiet
from tests.witness.sweep import Case, Prepared, Tally, prepare, sample, sweep_errors, sweep_kills

SEED = 5
KILLS = 4
FAULTS = 2


@pytest.fixture(scope="module", params=profile_names())
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("sweep")
    return prepare(folder / "bench", Case(str(request.param), Behaviour.HEALTHY), SEED)


def test_a_process_killed_at_a_durable_call_is_recovered_from(prepared: Prepared) -> None:
    tally = Tally()
    sweep_kills(prepared, sample(prepared, SEED, KILLS), tally, quiet)
    assert not tally.violations, "\n".join(tally.violations)
    assert (tally.kills, tally.recoveries) == (KILLS, 2 * KILLS)


def test_a_durable_call_that_fails_ends_in_a_sentence_and_a_device_at_rest(
    prepared: Prepared,
) -> None:
    tally = Tally()
    sweep_errors(prepared, sample(prepared, SEED + 1, FAULTS), tally, quiet)
    assert not tally.violations, "\n".join(tally.violations)
    assert tally.faults == tally.recoveries == 6 * FAULTS
