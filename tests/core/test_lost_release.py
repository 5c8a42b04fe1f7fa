"""A release whose manifest no mirror has any more, on a device that was away since it accepted it."""

from dataclasses import replace

import pytest

from agent.errors import NotFoundError
from agent.rollout import BUCKETS, Phase
from agent.update import State
from tests.core.clients import make_client
from tests.core.samples import NOON
from tests.core.test_runner import ROLLOUT, UPDATE, Bench, Switch, state
from tests.core.tuf_repository import make_repository

NEWER = replace(
    ROLLOUT,
    id="summer",
    release="2026.3",
    counter=ROLLOUT.counter + 1,
    phases=(Phase(BUCKETS, NOON),),
)


@pytest.mark.parametrize("overtaken", [False, True])
def test_a_release_that_nobody_has_is_waited_for_until_a_newer_one_is_rolled_out(
    *, overtaken: bool
) -> None:
    repository, switch = make_repository(), Switch()
    client = make_client(repository)
    client.boot = switch
    bench = Bench(repository, client, switch)
    bench.roll_out(ROLLOUT, *([NEWER] if overtaken else []))
    for path in [path for path in repository.files if f".{ROLLOUT.release}.json" in path]:
        del repository.files[path]
    runner = bench.at(replace(UPDATE, state=State.ACCEPTED, attempts=0))
    if overtaken:
        runner.step()
        assert state(runner) is State.FAILED
        assert runner.journal.tried(ROLLOUT.id, ROLLOUT.reissue)
        return
    for _ in range(10):
        with pytest.raises(NotFoundError):
            runner.step()
        assert state(runner) is State.ACCEPTED
