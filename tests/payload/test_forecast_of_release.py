"""`release add --from` says what each kind of device will fetch."""

from datetime import UTC, datetime

from agent.release import DELTA, FULL, Image, Payload, Release
from fleet.forecast import forecast

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def image(hardware: str, content: str, *payloads: Payload) -> Image:
    return Image(hardware, "slots", "root", 8192, content * 64, payloads)


def payload(kind: str, length: int, base: str = "") -> Payload:
    return Payload(kind, "cd" * 32, length, 200, "ef" * 32, base * 64, 4096 if base else 0)


def release(name: str, *images: Image) -> Release:
    return Release(name, 1, "feature", NOW, "", images)


OLD = release("r1", image("pump", "1", payload(FULL, 900)))
NEW = release(
    "r2",
    image("pump", "2", payload(FULL, 1000), payload(DELTA, 70, "1"), payload(DELTA, 90, "0")),
    image("lamp", "2", payload(FULL, 1000)),
)


def test_each_kind_of_device_has_a_line_of_its_own() -> None:
    assert forecast(NEW, [OLD]) == [
        "pump: fetched are 70 bytes by a device with r1, 1000 by any other",
        "lamp: fetched are 1000 bytes by every device",
    ]


def test_each_release_that_a_delta_leads_from_is_named() -> None:
    older = release("r0", image("pump", "0", payload(FULL, 800)))
    [pump, _] = forecast(NEW, [OLD, older])
    assert "70 bytes by a device with r1, 90 bytes by a device with r0, 1000 by any" in pump
