"""The HTTPS server: whole files, ranges, nothing outside its folder, and the fleet's TLS only."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from agent.errors import ConfigError
from fleet.certificates import Holder, identity
from fleet.server import HttpsServer, nginx_configuration
from fleet.workspace import Workspace
from tests.fleet.running.faulty import Faulty
from tests.fleet.running.parts import new_fleet

BLOB = "ab" * 32
CONTENT = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    fleet = new_fleet(tmp_path_factory.mktemp("repository"))
    (fleet.public / "blobs").mkdir(parents=True)
    (fleet.public / "metadata").mkdir()
    (fleet.public / "blobs" / BLOB).write_bytes(CONTENT)
    (fleet.public / "metadata" / "1.root.json").write_bytes(b"{}")
    (fleet.public / "metadata" / "timestamp.json").write_bytes(b"{}")
    (fleet.public / "link").symlink_to(fleet.authority)
    return fleet


@pytest.fixture(scope="module")
def server(repository: Workspace) -> Iterator[HttpsServer]:
    with HttpsServer(repository, port=0) as server:
        yield server


@pytest.fixture
def client(repository: Workspace) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.verify = str(identity(repository, Holder.REPOSITORY).authority)
        session.trust_env = False
        yield session


def url(server: HttpsServer, path: str) -> str:
    return f"https://localhost:{server.port}/{path}"


def test_it_serves_whole_files_and_counts_them(
    server: HttpsServer, client: requests.Session
) -> None:
    before = server.traffic
    answer = client.get(url(server, f"blobs/{BLOB}"), timeout=5)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert server.traffic.requests == before.requests + 1
    assert server.traffic.sent_bytes == before.sent_bytes + len(CONTENT)


@pytest.mark.parametrize(
    ("asked", "expected", "place"),
    [
        ("bytes=0-99", CONTENT[:100], "bytes 0-99/10240"),
        ("bytes=10000-", CONTENT[10_000:], "bytes 10000-10239/10240"),
        ("bytes=5000-99999", CONTENT[5000:], "bytes 5000-10239/10240"),
        ("bytes=-5", CONTENT[-5:], "bytes 10235-10239/10240"),
    ],
)
def test_it_serves_ranges(
    server: HttpsServer, client: requests.Session, asked: str, expected: bytes, place: str
) -> None:
    answer = client.get(url(server, f"blobs/{BLOB}"), headers={"Range": asked}, timeout=5)
    assert (answer.status_code, answer.content) == (206, expected)
    assert answer.headers["Content-Range"] == place


def test_a_range_past_the_end_is_refused(server: HttpsServer, client: requests.Session) -> None:
    headers = {"Range": "bytes=10240-"}
    assert client.get(url(server, f"blobs/{BLOB}"), headers=headers, timeout=5).status_code == 416


@pytest.mark.parametrize(
    "path", ["", "blobs", "metadata/2.root.json", "link/authority.key", "%2e%2e/fleet.toml"]
)
def test_there_is_nothing_else(server: HttpsServer, client: requests.Session, path: str) -> None:
    assert client.get(url(server, path), timeout=5).status_code == 404


def test_it_only_gives(server: HttpsServer, client: requests.Session) -> None:
    assert client.put(url(server, "metadata/9.root.json"), b"{}", timeout=5).status_code == 405


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"blobs/{BLOB}", "public, max-age=31536000, immutable"),
        ("metadata/1.root.json", "public, max-age=31536000, immutable"),
        ("metadata/timestamp.json", "no-cache"),
        ("metadata/2.root.json", "no-cache"),
    ],
)
def test_what_never_changes_may_be_kept_and_nothing_else(
    server: HttpsServer, client: requests.Session, path: str, expected: str
) -> None:
    answer = client.get(url(server, path), timeout=5)
    assert answer.headers["Cache-Control"] == expected


def test_its_certificate_is_from_the_fleets_authority_only(
    server: HttpsServer, client: requests.Session, tmp_path: Path
) -> None:
    address = url(server, "metadata/timestamp.json")
    client.verify = str(identity(new_fleet(tmp_path), Holder.REPOSITORY).authority)
    with pytest.raises(requests.exceptions.SSLError):
        client.get(address, timeout=5)
    client.verify = True  # the authorities of the World Wide Web
    with pytest.raises(requests.exceptions.SSLError):
        client.get(address, timeout=5)


def test_a_wrapper_may_cut_and_fail_answers(
    repository: Workspace, client: requests.Session, caplog: pytest.LogCaptureFixture
) -> None:
    faults: list[Faulty] = []

    def wrap(inner: object) -> Faulty:
        assert callable(inner)
        faults.append(Faulty(inner))
        return faults[-1]

    with caplog.at_level(logging.CRITICAL), HttpsServer(repository, port=0, wrap=wrap) as server:
        (fault,) = faults
        fault.status = 503
        assert client.get(url(server, f"blobs/{BLOB}"), timeout=5).status_code == 503
        fault.status, fault.cut_after_bytes = None, 1000
        answer = client.get(url(server, f"blobs/{BLOB}"), timeout=5, stream=True)
        received = b""
        with answer, pytest.raises(requests.exceptions.ChunkedEncodingError):  # noqa: PT012  # it ends in the middle
            for part in answer.iter_content(100):
                received += part
        assert received == CONTENT[:1000]
        fault.cut_after_bytes = None
        assert client.get(url(server, f"blobs/{BLOB}"), timeout=5).content == CONTENT


def test_a_port_that_is_taken_is_named(repository: Workspace, server: HttpsServer) -> None:
    with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{server.port}: cannot listen"):
        HttpsServer(repository, port=server.port).start()


def test_a_fleet_that_published_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lockgate-fleet publish"):
        HttpsServer(new_fleet(tmp_path), port=0).start()


def test_the_nginx_configuration_names_the_same_folder(repository: Workspace) -> None:
    text = nginx_configuration(repository, port=443, host="updates.example")
    assert f"root {repository.public};" in text
    assert "server_name updates.example;" in text
    assert text.count("{") == text.count("}")
