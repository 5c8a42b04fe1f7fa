"""Someone at the device sees why an update waits, and may say yes to it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.budget import FILE
from fleet.workspace import Workspace
from tests.cli.bench import Bench
from tests.cli.fleets import publish_all, release
from tests.cli.shapes import differences, examples

METERED = '[limits]\nmetered = "yes"\non_metered = "defer"\n\n[reboot]'
SMALL_DAY = "[limits]\nday_bytes_max = 65536\n\n[reboot]"


@pytest.fixture
def released(fleet: Workspace, enrolled: Bench, tmp_path: Path) -> Bench:
    """A device that has an update open."""
    image = tmp_path / "image"
    image.write_bytes(bytes(range(256)) * 512 + b"\x01" * 4096)
    release(fleet, image, window_bytes=512)
    publish_all(fleet)
    return enrolled


def test_explain_says_that_it_would_wait_and_a_yes_at_the_device_takes_it(released: Bench) -> None:
    released.change(released.settings, "[reboot]", METERED)
    told = released.call("--json", "explain").document
    assert told["decision"] == "update"
    assert told["held"] == "limit-metered: the link is metered; it waits for another link"
    assert "it waits: limit-metered" in released.call("explain").out
    assert "an update would wait" in released.call("doctor").out
    answer = released.call("--json", "install", "--reboot", "no")
    assert answer.status == 4, answer.err
    assert released.call("--json", "explain").document["held"] == ""


def test_an_update_that_waits_for_tomorrow_says_so(released: Bench) -> None:
    released.change(released.settings, "[reboot]", SMALL_DAY)
    today = datetime.now(UTC).date().isoformat()
    released.state.mkdir(exist_ok=True)
    (released.state / FILE).write_text(
        f'{{"schema":1,"day":"{today}","day_bytes":65000,"update":"","update_bytes":0}}'
    )
    answer = released.call("--json", "install")
    assert answer.status == 61
    assert answer.error["error"]["code"] == "limit-budget"
    assert "limits.day_bytes_max" in answer.error["error"]["message"]
    status = released.call("--json", "status").document
    assert not differences(examples()["status"]["update"], status["update"])
    assert status["update"]["held"].startswith("limit-budget: ")
    assert "waits" in released.call("status").out
    assert released.call("--json", "explain").document["held"].startswith("limit-budget: ")


def test_looking_counts_nothing(released: Bench) -> None:
    released.change(released.settings, "[reboot]", SMALL_DAY)
    released.call("explain")
    released.call("install", "--dry-run")
    assert not (released.state / FILE).exists()


def test_doctor_looks_at_the_encryption_key(enrolled: Bench) -> None:
    key = enrolled.folder / "encryption.key"
    enrolled.change(enrolled.settings, "[reboot]", f'[encryption]\nkey = "{key}"\n\n[reboot]')
    assert "an X25519 private key (PKCS #8, PEM) was expected" in enrolled.call("doctor").out
    request = enrolled.call("identity", "--new").out
    assert "BEGIN PUBLIC KEY" in request
    assert key.stat().st_mode & 0o777 == 0o600
    assert f"{key}: key " in enrolled.call("doctor").out
    assert enrolled.call("--json", "identity").document["encryption_key"] == str(key)
