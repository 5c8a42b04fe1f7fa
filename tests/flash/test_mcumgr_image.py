"""Which bytes are an MCUboot image that may be sent: imgtool's are, and nothing near them is."""

import random
from pathlib import Path

import pytest

from agent.errors import ConfigError, FlashImageError, RollbackError, TrustError
from agent.flash.mcuboot_image import PublicKey, check_image, load_public_key
from tests.flash.mcuboot import imgtool_accepts, make_signer, sign

PROGRAM = bytes(range(256)) * 3
REFUSED = (FlashImageError, TrustError)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-p256"])
@pytest.mark.parametrize("counter", [None, 7])
def test_takes_what_imgtool_made_and_signed(tmp_path: Path, kind: str, counter: int | None) -> None:
    signer = make_signer(tmp_path / "ours", kind)
    image = sign(tmp_path, PROGRAM, signer, version="1.2.3+4", counter=counter)
    found = check_image(image, (make_signer(tmp_path / "other").key, signer.key))
    assert found.version == "1.2.3+4"
    assert found.security_counter == counter
    assert imgtool_accepts(tmp_path, image, signer)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-p256"])
def test_refuses_another_key_and_no_key_as_imgtool_does(tmp_path: Path, kind: str) -> None:
    ours, other = make_signer(tmp_path / "ours", kind), make_signer(tmp_path / "other", kind)
    for image in (sign(tmp_path, PROGRAM, other), sign(tmp_path, PROGRAM, None)):
        assert not imgtool_accepts(tmp_path, image, ours)
        with pytest.raises(TrustError, match="nothing was sent"):
            check_image(image, (ours.key,))


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-p256"])
def test_no_flipped_bit_is_accepted(tmp_path: Path, kind: str) -> None:
    signer = make_signer(tmp_path, kind)
    image = sign(tmp_path, PROGRAM[:96], signer, counter=7)
    for place in range(len(image) * 8):
        damaged = bytearray(image)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(REFUSED):
            check_image(bytes(damaged), (signer.key,))


def test_no_cut_and_no_byte_too_many_is_accepted(tmp_path: Path) -> None:
    signer = make_signer(tmp_path)
    image = sign(tmp_path, PROGRAM[:96], signer, counter=7)
    for length in range(len(image)):
        with pytest.raises(REFUSED):
            check_image(image[:length], (signer.key,))
    with pytest.raises(FlashImageError, match="exactly byte"):
        check_image(image + b"\xff", (signer.key,))


def test_random_damage_never_ends_in_a_traceback(tmp_path: Path) -> None:
    signer = make_signer(tmp_path)
    image = sign(tmp_path, PROGRAM[:96], signer, counter=7)
    chance = random.Random(1)
    for _ in range(3000):
        damaged = bytearray(image)
        for _ in range(chance.randrange(1, 8)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        if bytes(damaged) != image:
            with pytest.raises(REFUSED):
                check_image(bytes(damaged), (signer.key,))


def test_refuses_a_tlv_that_stands_twice(tmp_path: Path) -> None:
    signer = make_signer(tmp_path)
    image = sign(tmp_path, PROGRAM, signer)
    area = 32 + len(PROGRAM)
    length = int.from_bytes(image[area + 2 : area + 4], "little")
    entry = image[area + 4 : area + 40]  # type, length and the SHA-256
    head = image[area : area + 2] + (length + len(entry)).to_bytes(2, "little")
    twice = image[:area] + head + entry + image[area + 4 :]
    with pytest.raises(FlashImageError, match="twice"):
        check_image(twice, (signer.key,))


def test_refuses_a_lower_security_counter(tmp_path: Path) -> None:
    signer = make_signer(tmp_path)
    image = sign(tmp_path, PROGRAM, signer, counter=7)
    assert check_image(image, (signer.key,), security_counter_min=7).security_counter == 7
    with pytest.raises(RollbackError, match="at least 8"):
        check_image(image, (signer.key,), security_counter_min=8)
    with pytest.raises(RollbackError, match="at least 1"):
        check_image(sign(tmp_path, PROGRAM, signer), (signer.key,), security_counter_min=1)


def test_refuses_images_for_other_kinds_of_slots(tmp_path: Path) -> None:
    signer = make_signer(tmp_path)
    padded = sign(tmp_path, PROGRAM, signer, arguments=("--pad",))
    with pytest.raises(FlashImageError):
        check_image(padded, (signer.key,))


def test_without_keys_nothing_is_accepted(tmp_path: Path) -> None:
    image = sign(tmp_path, PROGRAM, make_signer(tmp_path))
    with pytest.raises(ConfigError, match="at least one"):
        check_image(image, ())
    with pytest.raises(ConfigError, match="PEM"):
        load_public_key(b"-----BEGIN", "key.pem")


def test_a_key_that_is_no_point_of_its_curve_has_signed_nothing(tmp_path: Path) -> None:
    signer = make_signer(tmp_path)
    broken = PublicKey(signer.key.kind, signer.key.content[:-1] + b"\x00")
    content = sign(tmp_path, PROGRAM, signer)
    renamed = content.replace(signer.key.hash, broken.hash)
    assert renamed != content
    with pytest.raises(TrustError, match="not by the key"):
        check_image(renamed, (broken,))
