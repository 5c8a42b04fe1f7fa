import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import TrustError
from agent.release import Image, encode_release, parse_release
from agent.rollout import (
    Phase,
    Rollout,
    Rollouts,
    Window,
    encode_halts,
    encode_rollouts,
    parse_halts,
    parse_rollouts,
)
from agent.strict import encode_json
from tests.core.samples import HALTS, IMAGE, NOON, PAYLOAD, RELEASE, ROLLOUT, ROLLOUTS

Document = dict[str, object]
JSON_VALUES: st.SearchStrategy[object] = (
    st.none()
    | st.booleans()
    | st.integers(-3, 2**60)
    | st.text(max_size=6)
    | st.sampled_from([[], {}, [{}], [[]], "a/b", "..", -1, 2**53])
)


def as_document(content: bytes) -> Document:
    document: Document = json.loads(content)
    return document


def test_documents_are_read_as_they_were_written() -> None:
    assert parse_release(encode_release(RELEASE)) == RELEASE
    assert parse_rollouts(encode_rollouts(ROLLOUTS), "water") == ROLLOUTS
    assert parse_halts(encode_halts(HALTS), "water") == HALTS


def test_documents_of_another_fleet_are_refused() -> None:
    with pytest.raises(TrustError, match="another fleet"):
        parse_rollouts(encode_rollouts(ROLLOUTS), "wind")
    with pytest.raises(TrustError, match="another fleet"):
        parse_halts(encode_halts(HALTS), "wind")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_document_or_refused(content: bytes) -> None:
    for parse in (
        parse_release,
        lambda given_bytes: parse_rollouts(given_bytes, "water"),
        lambda given_bytes: parse_halts(given_bytes, "water"),
    ):
        with pytest.raises(TrustError):
            parse(content)


@given(st.data())
def test_any_value_in_any_place_is_read_or_refused(data: st.DataObject) -> None:
    for content, parse in (
        (encode_release(RELEASE), parse_release),
        (encode_rollouts(ROLLOUTS), lambda given_bytes: parse_rollouts(given_bytes, "water")),
        (encode_halts(HALTS), lambda given_bytes: parse_halts(given_bytes, "water")),
    ):
        document = as_document(content)
        place: object = document
        while isinstance(place, dict | list) and place:
            keys: list[object] = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = data.draw(st.sampled_from(keys))
            inner = place[key]  # type: ignore[call-overload]  # a key of this very table or list
            if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
                place[key] = data.draw(JSON_VALUES)  # type: ignore[call-overload]  # as above
                break
            place = inner
        try:
            parse(json.dumps(document).encode())
        except TrustError:
            continue


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", 2),
        ("name", "../2026.2"),
        ("name", ""),
        ("counter", 0),
        ("counter", True),
        ("kind", "hotfix"),
        ("created", "yesterday"),
        ("notes", "line\nline"),
        ("images", {}),
        ("url", "https://elsewhere.example"),
    ],
)
def test_a_manifest_with_a_wrong_field_is_refused_by_its_name(key: str, value: object) -> None:
    document = as_document(encode_release(RELEASE)) | {key: value}
    with pytest.raises(TrustError, match=key):
        parse_release(encode_json(document))


@pytest.mark.parametrize(
    "image",
    [
        replace(IMAGE, length_bytes=0),
        replace(IMAGE, length_bytes=2**40 + 1),
        replace(IMAGE, sha256="12" * 31),
        replace(IMAGE, sha256=("AB" * 32)),
        replace(IMAGE, component="a/b"),
        replace(IMAGE, payloads=(replace(PAYLOAD, blob="../../etc/passwd"),)),
        replace(IMAGE, payloads=(replace(PAYLOAD, length_bytes=0),)),
        replace(IMAGE, payloads=(replace(PAYLOAD, index_bytes=PAYLOAD.length_bytes + 1),)),
        replace(IMAGE, payloads=(PAYLOAD,) * 65),
    ],
)
def test_an_image_that_cannot_be_is_refused(image: Image) -> None:
    with pytest.raises(TrustError):
        parse_release(encode_release(replace(RELEASE, images=(image,))))


def test_two_images_for_one_part_are_refused() -> None:
    with pytest.raises(TrustError, match="same part"):
        parse_release(encode_release(replace(RELEASE, images=(IMAGE, IMAGE))))
    other = replace(IMAGE, hardware_id="rpi5")
    pair = replace(RELEASE, images=(IMAGE, other))
    assert parse_release(encode_release(pair)) == pair


@pytest.mark.parametrize(
    "rollout",
    [
        replace(ROLLOUT, phases=(Phase(-1, NOON),)),
        replace(ROLLOUT, phases=(Phase(10_001, NOON),)),
        replace(ROLLOUT, phases=(Phase(1, NOON),) * 101),
        replace(ROLLOUT, window=Window(1440, 1)),
        replace(ROLLOUT, window=Window(0, 0)),
        replace(ROLLOUT, window=Window(0, 1441)),
        replace(ROLLOUT, counter=0),
        replace(ROLLOUT, reissue=-1),
        replace(ROLLOUT, release="../x"),
    ],
)
def test_a_rollout_that_cannot_be_is_refused(rollout: Rollout) -> None:
    with pytest.raises(TrustError):
        parse_rollouts(encode_rollouts(Rollouts("water", (rollout,))), "water")


def test_two_rollouts_of_one_id_are_refused() -> None:
    with pytest.raises(TrustError, match="same id"):
        parse_rollouts(encode_rollouts(Rollouts("water", (ROLLOUT, ROLLOUT))), "water")
