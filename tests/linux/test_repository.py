import itertools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.basics import RepositorySettings
from agent.errors import FetchError, NotFoundError, UntrustedServerError
from agent.linux.repository import FetchLimits, HttpsRepository
from tests.linux.authority import Authority
from tests.linux.file_server import HOST, Answer, Handler, Server, Shelf, running_server

CONTENT = bytes(range(256)) * 40
QUICK = FetchLimits(connect_s=2, gap_s=0.3, window_s=0.5, bytes_per_s_min=1000)


@dataclass(frozen=True, slots=True)
class Place:
    authority: Authority
    shelf: Shelf
    server: Server

    def repository(self, *urls: str) -> HttpsRepository:
        settings = RepositorySettings(
            urls=urls or (self.server.url,), authority=self.authority.path
        )
        return HttpsRepository(settings, QUICK)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def place(authority: Authority) -> Iterator[Place]:
    shelf = Shelf(files={"/blobs/image": CONTENT, "/empty": b""})
    with running_server(shelf, authority.issue(HOST)) as server:
        yield Place(authority, shelf, server)


@contextmanager
def opened(repository: HttpsRepository) -> Iterator[HttpsRepository]:
    try:
        yield repository
    finally:
        repository.close()


def fetch(
    repository: HttpsRepository, path: str, offset: int = 0, length_max: int = 20_000
) -> bytes:
    with opened(repository):
        stream = repository.open(path, offset, length_max)
        try:
            pieces = list(iter(lambda: stream.read(5000), b""))
        finally:
            stream.close()
            stream.close()
    assert all(len(piece) <= 5000 for piece in pieces)
    return b"".join(pieces)


def test_gives_a_whole_file_or_any_part_of_it(place: Place) -> None:
    repository = place.repository()
    assert fetch(repository, "blobs/image") == CONTENT
    assert fetch(repository, "blobs/image", 100, 7000) == CONTENT[100:7100]
    assert fetch(repository, "blobs/image", len(CONTENT) - 1, 9) == CONTENT[-1:]


def test_asks_for_plain_bytes_and_tells_nothing_else(place: Place) -> None:
    fetch(place.repository(), "blobs/image", 5, 10)
    (request,) = place.shelf.requests
    assert request.pop("Host").startswith(HOST)
    assert request == {
        "path": "/blobs/image",
        "Range": "bytes=5-14",
        "User-Agent": "lockgate",
        "Accept-Encoding": "identity",
    }


def test_one_connection_serves_many_reads(place: Place) -> None:
    with opened(place.repository()) as repository:
        for offset in range(5):
            stream = repository.open("blobs/image", offset, 10)
            assert stream.read(10) == CONTENT[offset : offset + 10]
            assert stream.read(10) == b""
    assert len(place.shelf.requests) == 5
    assert place.shelf.connections == 1


def test_a_connection_with_an_answer_left_in_it_is_not_asked_again(place: Place) -> None:
    def answer(handler: Handler) -> None:
        handler.reply(200, CONTENT)
        handler.close_connection = False

    place.shelf.answers["/whole"] = answer
    with opened(place.repository()) as repository:
        stream = repository.open("whole", 0, 3000)
        assert stream.read(3000) == CONTENT[:3000]
        assert repository.open("blobs/image", 0, 10).read(10) == CONTENT[:10]
    assert [request["path"] for request in place.shelf.requests] == ["/whole", "/blobs/image"]


def test_missing_file_is_its_own_error(place: Place) -> None:
    with pytest.raises(NotFoundError, match="has no such file"):
        fetch(place.repository(), "blobs/none")


def test_what_is_past_the_end_is_missing(place: Place) -> None:
    with pytest.raises(NotFoundError, match="shorter than expected"):
        fetch(place.repository(), "blobs/image", len(CONTENT))


def test_whole_file_is_taken_when_the_start_was_asked_for(place: Place) -> None:
    place.shelf.answers["/whole"] = lambda handler: handler.reply(200, CONTENT)
    assert fetch(place.repository(), "whole") == CONTENT
    assert fetch(place.repository(), "whole", 0, 3000) == CONTENT[:3000]


def test_file_without_a_length_is_taken_to_its_end(place: Place) -> None:
    def answer(handler: Handler) -> None:
        handler.start(200, ("Connection", "close"))
        handler.wfile.write(CONTENT)

    place.shelf.answers["/open-ended"] = answer
    assert fetch(place.repository(), "open-ended") == CONTENT


def test_endless_answer_is_cut_at_the_length_asked_for(place: Place) -> None:
    def answer(handler: Handler) -> None:
        handler.start(200, ("Transfer-Encoding", "chunked"))
        handler.drip(itertools.repeat(b"1000\r\n" + bytes(4096) + b"\r\n"), 0)

    place.shelf.answers["/endless"] = answer
    assert fetch(place.repository(), "endless", 0, 50_000) == bytes(50_000)


def part(start: int, last: int, content: bytes, *more: tuple[str, str]) -> Answer:
    place = f"bytes {start}-{last}/10240"
    return lambda handler: handler.reply(206, content, ("Content-Range", place), *more)


def truncated(handler: Handler) -> None:
    handler.start(206, ("Content-Range", "bytes 100-1099/10240"), ("Content-Length", "1000"))
    handler.wfile.write(CONTENT[100:600])


def stalled(handler: Handler) -> None:
    handler.start(206, ("Content-Range", "bytes 100-1099/10240"), ("Content-Length", "1000"))
    handler.wfile.write(b"x")
    handler.wfile.flush()
    handler.stall()


def dripping(handler: Handler) -> None:
    handler.start(206, ("Content-Range", "bytes 100-1099/10240"), ("Content-Length", "1000"))
    handler.drip(itertools.repeat(b"x", 1000), 0.05)


def dripping_head(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 206 Partial Content\r\nX-Slow: ")
    handler.drip(itertools.repeat(b"x", 1000), 0.05)


def endless_end(handler: Handler) -> None:
    answer = ("Content-Range", "bytes 100-1099/10240"), ("Transfer-Encoding", "chunked")
    handler.start(206, *answer)
    handler.wfile.write(b"1f4\r\n" + CONTENT[100:600] + b"\r\n0\r\n")
    handler.drip(itertools.repeat(b"X-More: and more\r\n" * 1000), 0)


def thin_pieces(handler: Handler) -> None:
    answer = ("Content-Range", "bytes 100-1099/10240"), ("Transfer-Encoding", "chunked")
    handler.start(206, *answer)
    handler.drip(itertools.repeat(b"1;" + b"x" * 60_000 + b"\r\nx\r\n", 1000), 0)


def endless_head(handler: Handler) -> None:
    handler.drip(itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 1000), 0)


MISBEHAVIOURS: dict[str, tuple[Answer, str]] = {
    "truncated": (truncated, "transfer failed|ended 500 bytes before"),
    "another start": (part(0, 999, CONTENT[:1000]), "bytes 100-1099 were expected, 'bytes 0-999"),
    "more than asked": (part(100, 1100, CONTENT[:1001]), "bytes 100-1099 were expected"),
    "backwards": (part(100, 99, b""), "bytes 100-1099 were expected"),
    "no range named": (lambda handler: handler.reply(206, CONTENT[100:1100]), "'' found"),
    "whole file": (lambda handler: handler.reply(200, CONTENT), "must support range requests"),
    "stalled": (stalled, "too slow"),
    "dripping": (dripping, "too slow"),
    "silent": (lambda handler: handler.stall(), "too slow"),
    "dripping head": (dripping_head, "too slow"),
    "endless head": (endless_head, "headers of more than"),
    "endless end": (endless_end, "much more than"),
    "thin pieces": (thin_pieces, "much more than"),
    "redirect": (
        lambda handler: handler.reply(302, b"", ("Location", "https://127.0.0.1:1/x")),
        "a redirect to 'https://127.0.0.1:1/x' found, which is not followed",
    ),
    "compressed": (
        part(100, 1099, CONTENT[100:1100], ("Content-Encoding", "gzip")),
        "encoding 'gzip' found",
    ),
    "overloaded": (
        lambda handler: handler.reply(503, b"", ("Retry-After", "99999999")),
        "overloaded .status 503.",
    ),
    "broken": (lambda handler: handler.reply(500, b"oops"), "status 200 or 206 was expected, 500"),
    "not HTTP": (lambda handler: handler.drip(iter([b"SSH-2.0-x\r\n\r\n"]), 0), "transfer failed"),
    "two lengths": (
        lambda handler: handler.start(206, ("Content-Length", "5"), ("Content-Length", "6")),
        "transfer failed",
    ),
}


@pytest.mark.parametrize("kind", MISBEHAVIOURS)
def test_misbehaving_server_is_a_clear_error_with_its_address(place: Place, kind: str) -> None:
    answer, sentence = MISBEHAVIOURS[kind]
    place.shelf.answers["/blobs/image"] = answer
    with pytest.raises(FetchError, match=sentence) as caught:
        fetch(place.repository(), "blobs/image", 100, 1000)
    assert f"{place.server.url}/blobs/image: " in str(caught.value)


def test_slow_reader_is_not_taken_for_a_slow_server(place: Place) -> None:
    """Only the time spent waiting counts, not the time that the device takes to write."""
    with opened(place.repository()) as repository:
        stream = repository.open("blobs/image", 0, 2000)
        place.shelf.ending.wait(1.2)
        assert stream.read(2000) == CONTENT[:2000]


def test_next_server_is_asked_when_one_fails_and_kept_from_then_on(
    place: Place, authority: Authority
) -> None:
    place.shelf.answers["/blobs/image"] = lambda handler: handler.reply(500, b"")
    good = Shelf(files={"/blobs/image": CONTENT, "/other": b"x"})
    with (
        running_server(good, authority.issue(HOST)) as server,
        opened(place.repository(place.server.url, server.url)) as repository,
    ):
        for _ in range(3):
            stream = repository.open("blobs/image", 0, 100)
            assert stream.read(100) == CONTENT[:100]
        assert len(place.shelf.requests) == 1


def test_server_that_breaks_off_gives_way_at_the_next_open(
    place: Place, authority: Authority
) -> None:
    place.shelf.answers["/blobs/image"] = truncated
    good = Shelf(files={"/blobs/image": CONTENT})
    with (
        running_server(good, authority.issue(HOST)) as server,
        opened(place.repository(place.server.url, server.url)) as repository,
    ):
        stream = repository.open("blobs/image", 100, 1000)
        with pytest.raises(FetchError):
            list(iter(lambda: stream.read(1000), b""))
        assert repository.open("blobs/image", 600, 500).read(500) == CONTENT[600:1100]


def test_file_is_missing_only_when_nobody_has_it_and_all_could_be_asked(
    place: Place, authority: Authority
) -> None:
    other = Shelf(files={"/other": b"x"})
    with running_server(other, authority.issue(HOST)) as server:
        urls = (place.server.url, server.url)
        assert fetch(place.repository(*urls), "other") == b"x"
        with pytest.raises(NotFoundError):
            fetch(place.repository(*urls), "none")
        place.shelf.answers["/none"] = lambda handler: handler.reply(500, b"")
        with pytest.raises(FetchError, match="500 found"):
            fetch(place.repository(*urls), "none")


def test_nobody_listening_is_a_clear_error(place: Place) -> None:
    with pytest.raises(FetchError, match="Connection refused"):
        fetch(place.repository("https://127.0.0.1:1"), "blobs/image")


def test_server_of_another_authority_is_not_trusted(place: Place, tmp_path: Path) -> None:
    other = Authority(tmp_path)
    settings = RepositorySettings(urls=(place.server.url,), authority=other.path)
    with pytest.raises(UntrustedServerError, match=r"with a certificate from .*authority\.pem"):
        fetch(HttpsRepository(settings, QUICK), "blobs/image")
    assert place.shelf.requests == []


@pytest.mark.parametrize("fault", ["another name", "expired", "not yet valid"])
def test_wrong_certificate_is_not_trusted(authority: Authority, fault: str) -> None:
    now = datetime.now(UTC)
    credential = {
        "another name": lambda: authority.issue("elsewhere.example"),
        "expired": lambda: authority.issue(HOST, start=now - timedelta(days=2)),
        "not yet valid": lambda: authority.issue(HOST, start=now + timedelta(days=2)),
    }[fault]()
    shelf = Shelf(files={"/x": b"x"})
    with running_server(shelf, credential) as server:
        settings = RepositorySettings(urls=(server.url,), authority=authority.path)
        with pytest.raises(UntrustedServerError):
            fetch(HttpsRepository(settings, QUICK), "x")
    assert shelf.requests == []


def test_missing_authority_is_named(place: Place) -> None:
    settings = RepositorySettings(urls=(place.server.url,), authority="/nowhere/a.pem")
    with pytest.raises(UntrustedServerError, match=r"/nowhere/a\.pem"):
        fetch(HttpsRepository(settings, QUICK), "blobs/image")


@pytest.mark.parametrize("path", ["../x", "a//b", "/x", "a?b", "a%2fb", "x" * 256, "a/b/" * 9, ""])
def test_path_that_no_repository_has_is_not_asked_for(place: Place, path: str) -> None:
    with pytest.raises(FetchError, match="nothing was fetched"):
        fetch(place.repository(), path)
    assert place.shelf.requests == []


def test_environment_changes_nothing(place: Place) -> None:
    script = (
        "from agent.linux.repository import HttpsRepository\n"
        "from agent.config import RepositorySettings\n"
        f"repository = HttpsRepository(RepositorySettings(({place.server.url!r},), "
        f"{place.authority.path!r}))\n"
        "print(repository.open('blobs/image', 0, 3).read(3))\n"
        "repository.close()\n"
    )
    proxies = {"https_proxy": "http://127.0.0.1:1", "all_proxy": "http://127.0.0.1:1"}
    authorities = {"REQUESTS_CA_BUNDLE": "/nowhere", "SSL_CERT_FILE": "/nowhere"}
    child = subprocess.run(
        (sys.executable, "-c", script),
        env=proxies | authorities, capture_output=True, check=True, timeout=30,
    )  # fmt: skip
    assert child.stdout == b"b'\\x00\\x01\\x02'\n"


def test_idle_process_does_not_load_what_it_does_not_need() -> None:
    script = (
        "import sys, agent.commands.run, agent.linux.world, agent.linux.broker, agent.service\n"
        "heavy = {'requests', 'urllib3', 'tuf', 'cryptography', 'serial', 'http', 'backports', 'paho'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))\n"
    )
    child = subprocess.run(
        (sys.executable, "-c", script), capture_output=True, check=True, timeout=30
    )
    assert child.stdout == b"[]\n"
