"""Fleets are made once and copied: making keys is what takes time."""

import shutil
from pathlib import Path

import pytest

from fleet.initialise import Trust, initialise
from fleet.workspace import Workspace
from tests.fleet.signing.support import NOW, SETTINGS, Fleet


@pytest.fixture(scope="session")
def first_fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first") / "fleet"
    initialise(Workspace(folder), SETTINGS, NOW, Trust(rollouts_threshold=2))
    return folder


@pytest.fixture
def fleet(first_fleet: Path, tmp_path: Path) -> Fleet:
    """A hybrid fleet, not published yet, that needs two keys for rollouts."""
    folder = tmp_path / "fleet"
    shutil.copytree(first_fleet, folder)
    return Fleet(Workspace(folder))
