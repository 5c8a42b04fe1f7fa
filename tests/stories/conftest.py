import pytest

from agent.board import BoardProfile
from simulator.lab import Lab, make_lab
from simulator.profiles import load_profile, profile_names


@pytest.fixture(params=profile_names())
def profile(request: pytest.FixtureRequest) -> BoardProfile:
    return load_profile(str(request.param))


@pytest.fixture
def lab(profile: BoardProfile) -> Lab:
    return make_lab(profile, seed=7)
