import pytest

from tests.core.clients import Client, make_client
from tests.core.tuf_repository import TufRepository, make_repository


@pytest.fixture
def repository() -> TufRepository:
    return make_repository()


@pytest.fixture
def client(repository: TufRepository) -> Client:
    """A device that has seen version 1 of everything."""
    made = make_client(repository)
    made.look()
    return made
