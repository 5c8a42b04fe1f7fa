"""Encrypted payloads: what travels and lies about is ciphertext, and nothing wrong is ever written."""

import hashlib
import io
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent.delta_index import parse_delta_index
from agent.encryption import (
    INDEX,
    NONCE,
    RECORD,
    TAG_BYTES,
    ContentKey,
    envelope_info,
    open_envelope,
    open_kept,
    seal_kept,
)
from agent.errors import DecryptionError, FetchError, RecipientError, UpdateError
from agent.interfaces import ByteStream
from agent.payload import ENTRY, HEADER, PayloadIndex, parse_index
from agent.release import DELTA, FULL, Image, Payload
from benchmarks.mirror import Mirror
from fleet.encryption import Recipients, decrypt_payload, encrypt_payload
from fleet.payload import Encoding, encode_full
from tests.payload.bench import make_slot
from tests.payload.hpke import AES_128, AES_256, open_base
from tests.payload.pair import Made
from tests.payload.sealed import Sealed, Slots, pem, sealed

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "payload.md"


@pytest.fixture(scope="module")
def secret(pair: Made, tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    return sealed(pair, tmp_path_factory.mktemp("sealed"))


def payload_of(image: Image, kind: str) -> Payload:
    return next(one for one in image.payloads if one.kind == kind)


def test_an_independent_hpke_opens_the_rfcs_vector_and_our_envelope() -> None:
    """RFC 9180, appendix A.1.1, message 0; then a key that was wrapped here."""
    private = X25519PrivateKey.from_private_bytes(
        bytes.fromhex("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8")
    )
    enc = bytes.fromhex("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431")
    ciphertext = bytes.fromhex(
        "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a"
    )
    info = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
    told = open_base(private, enc, ciphertext, info, aad=b"Count-0", aead=AES_128)
    assert told == b"Beauty is truth, truth beauty"

    sha256 = "ab" * 32
    envelope = Recipients((private.public_key().public_bytes_raw(),)).envelope(b"k" * 32, sha256)
    wrapped = envelope[28:]
    info = envelope_info(sha256)
    assert open_base(private, wrapped[:32], wrapped[32:], info, aad=b"", aead=AES_256) == b"k" * 32
    assert open_envelope(envelope, pem(private), sha256).key == b"k" * 32


def test_the_vector_of_the_document_opens_to_the_delta_above_it() -> None:
    text = DOCUMENT.read_text()
    found = re.search(r"```hex\n([0-9a-f\s]+)```", text)
    assert found is not None
    blob = bytes.fromhex(found[1])
    plain = bytes.fromhex(re.findall(r"```\n([0-9a-f\s]{100,})```", text)[1])
    key = pem(X25519PrivateKey.from_private_bytes(bytes(range(32))))
    sizes = re.search(r"the sealed index has (\d+) and\s+the envelope 108", text)
    assert sizes is not None
    head = blob[: int(sizes[1])]

    content_key = open_envelope(blob[-108:], key, hashlib.sha256(head).hexdigest())
    assert content_key.key.hex() in text
    index = parse_delta_index(
        head,
        sha256=hashlib.sha256(head).hexdigest(),
        image_bytes=3072,
        payload_bytes=len(blob),
        base_bytes=1024,
        unseal=content_key.open_index,
    )
    records = b"".join(
        content_key.open_record(blob[start : start + one.record_length], start - len(head))
        for one in index.entries
        if (start := one.record_offset)
    )
    assert content_key.open_index(head)[:8] == plain[:8]
    assert records == plain[-len(records) :]


@pytest.mark.parametrize("active", [True, False], ids=["by delta", "in full"])
def test_a_device_with_the_key_gets_the_image(
    pair: Made, secret: Sealed, tmp_path: Path, *, active: bool
) -> None:
    standby = make_slot(tmp_path / "standby", b"", len(pair.new))
    old = make_slot(tmp_path / "active", pair.old, len(pair.old)) if active else None
    mirror = Mirror(secret.blobs)

    meter = Slots(standby, old).take(secret.image, mirror, secret.key_pem)

    assert (tmp_path / "standby").read_bytes() == pair.new
    used = payload_of(secret.image, DELTA if active else FULL)
    assert set(mirror.opened) == {used.path}
    assert meter.fetched_bytes <= used.length_bytes + 1


def test_what_was_installed_before_a_cut_is_not_fetched_again(
    pair: Made, secret: Sealed, tmp_path: Path
) -> None:
    half = len(pair.new) // 2
    content = bytes(262_144) + pair.new[262_144:half]
    standby = make_slot(tmp_path / "standby", content, len(pair.new))
    meter = Slots(standby).take(secret.image, Mirror(secret.blobs), secret.key_pem)
    assert (tmp_path / "standby").read_bytes() == pair.new
    assert meter.fetched_bytes < 0.75 * payload_of(secret.image, FULL).length_bytes


def test_nothing_plain_is_on_the_mirror(pair: Made, secret: Sealed) -> None:
    plain = pair.blobs / pair.image.payload.blob
    with plain.open("rb") as file:
        entries = _index(pair.image.payload, file.read(pair.image.payload.index_bytes), pair)
    parts = [one.sha256 for one in entries.entries]
    content = plain.read_bytes()
    parts += [
        content[one.record_offset : one.record_offset + 32]
        for one in entries.entries
        if one.record_length
    ]
    for blob in secret.blobs.iterdir():
        lying = blob.read_bytes()
        assert not any(part in lying for part in parts)


def _index(payload: Payload, content: bytes, pair: Made) -> PayloadIndex:
    return parse_index(
        content,
        sha256=payload.index_sha256,
        image_bytes=len(pair.new),
        payload_bytes=payload.length_bytes,
    )


def test_opening_gives_the_plain_payload_back_byte_for_byte(
    pair: Made, secret: Sealed, tmp_path: Path
) -> None:
    for plain, hidden in zip(pair.image.image.payloads, secret.image.payloads, strict=True):
        path = secret.blobs / hidden.blob
        opened = decrypt_payload(path, hidden, secret.image, secret.key_pem, tmp_path)
        assert opened == plain


def test_no_two_payloads_have_one_key(pair: Made, secret: Sealed, tmp_path: Path) -> None:
    again = sealed(pair, tmp_path)
    keys = set()
    for one in (secret, again):
        for payload in one.image.payloads:
            assert payload.encryption is not None
            content = (one.blobs / payload.blob).read_bytes()
            envelope = content[-payload.encryption.envelope_bytes :]
            keys.add(open_envelope(envelope, one.key_pem, payload.index_sha256).key)
    assert len(keys) == 4


@dataclass(frozen=True, slots=True)
class LyingMirror:
    """Serves what `lie` makes of a blob."""

    blobs: Path
    lie: Callable[[bytes], bytes]

    def open(self, path: str, offset: int, length_max: int) -> ByteStream:
        content = self.lie((self.blobs / Path(path).name).read_bytes())
        made = self.blobs.parent / f"lie-{Path(path).name}"
        made.mkdir(exist_ok=True)
        (made / Path(path).name).write_bytes(content)
        return Mirror(made).open(path, offset, length_max)


def refusal(
    pair: Made,
    image: Image,
    mirror: LyingMirror | Mirror,
    key_pem: bytes,
    folder: Path,
) -> tuple[UpdateError, bytes]:
    """What is said, and what the standby slot holds then; it held 0xAA everywhere."""
    standby = make_slot(folder / "standby", b"\xaa" * len(pair.new), len(pair.new))
    with pytest.raises(UpdateError) as told:
        Slots(standby).take(image, mirror, key_pem)
    return told.value, (folder / "standby").read_bytes()


@pytest.mark.parametrize("key", [b"", b"no key", pem(X25519PrivateKey.generate())])
def test_without_the_key_nothing_is_written_and_it_is_not_tried_again(
    pair: Made, secret: Sealed, tmp_path: Path, key: bytes
) -> None:
    told, slot = refusal(pair, secret.image, Mirror(secret.blobs), key, tmp_path)
    assert isinstance(told, RecipientError)
    assert (told.code, told.retry) == ("payload-key", "never")
    assert set(slot) == {0xAA}


def flip(place: int) -> Callable[[bytes], bytes]:
    def lie(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[place] ^= 1
        return bytes(changed)

    return lie


@pytest.mark.parametrize("place", [5, -5, -100], ids=["index", "wrapped key", "envelope"])
def test_a_flipped_bit_in_index_or_envelope_is_refused_before_the_first_write(
    pair: Made, secret: Sealed, tmp_path: Path, place: int
) -> None:
    mirror = LyingMirror(secret.blobs, flip(place))
    told, slot = refusal(pair, secret.image, mirror, secret.key_pem, tmp_path)
    assert told.code == "payload"
    assert "SHA-256" in str(told)
    assert set(slot) == {0xAA}


def test_a_flipped_bit_in_a_record_is_refused_before_its_window(
    pair: Made, secret: Sealed, tmp_path: Path
) -> None:
    payload = payload_of(secret.image, FULL)
    mirror = LyingMirror(secret.blobs, flip(payload.index_bytes + 9))
    told, slot = refusal(pair, secret.image, mirror, secret.key_pem, tmp_path)
    assert told.code == "payload"
    assert "record" in str(told)
    assert slot.count(0xAA) >= len(slot) - 262_144  # its window was made invalid, nothing written


def test_a_truncated_copy_is_refused_before_the_first_write(
    pair: Made, secret: Sealed, tmp_path: Path
) -> None:
    mirror = LyingMirror(secret.blobs, lambda content: content[:-1])
    told, slot = refusal(pair, secret.image, mirror, secret.key_pem, tmp_path)
    assert isinstance(told, FetchError)
    assert set(slot) == {0xAA}


@dataclass(frozen=True, slots=True)
class Records:
    """The sealed records of a payload by their places, and what opens them."""

    key: ContentKey
    sealed: dict[int, bytes]

    def are_fresh(self) -> bool:
        """Whether the same plain record looks different at each place."""
        return len(set(self.sealed.values())) == len(self.sealed)

    def stay_in_place(self) -> bool:
        """Whether no record opens at the place of another one."""
        for place in self.sealed:
            for other, content in self.sealed.items():
                if other != place:
                    try:
                        self.key.open_record(content, place)
                    except DecryptionError:
                        continue
                    return False
        return True


def four_equal_windows(folder: Path) -> Records:
    """An image of one window four times, that does not compress, as it is encrypted."""
    window = bytes(hashlib.shake_256(b"window").digest(4096))
    encoded = encode_full(io.BytesIO(window * 4), folder, Encoding(window_bytes=4096), lambda: None)
    image = Image("b", "slots", "root", encoded.length_bytes, encoded.sha256, (encoded.payload,))
    private = X25519PrivateKey.generate()
    recipients = Recipients((private.public_key().public_bytes_raw(),))
    payload = encrypt_payload(encoded.path, encoded.payload, image, recipients, folder)
    content = (folder / payload.blob).read_bytes()
    assert payload.encryption is not None
    envelope = content[-payload.encryption.envelope_bytes :]
    length = 4096 + TAG_BYTES
    start = payload.index_bytes
    return Records(
        open_envelope(envelope, pem(private), payload.index_sha256),
        {n * length: content[start + n * length :][:length] for n in range(4)},
    )


class CarelessKey(ContentKey):
    """A defect: every record is opened, and was sealed, under the nonce of the first place."""

    def open_record(self, sealed: bytes, place: int) -> bytes:
        del place
        return ContentKey(self.key).open_record(sealed, 0)


def test_records_are_bound_to_their_places(tmp_path: Path) -> None:
    records = four_equal_windows(tmp_path)
    for place, content in records.sealed.items():
        assert len(records.key.open_record(content, place)) == 4096
    assert records.are_fresh()
    assert records.stay_in_place()


def test_a_nonce_that_is_used_twice_would_be_noticed(tmp_path: Path) -> None:
    right = four_equal_windows(tmp_path)
    cipher, nonce = AESGCM(right.key.key), NONCE.pack(RECORD, 0)
    careless = Records(
        CarelessKey(right.key.key),
        {
            place: cipher.encrypt(nonce, right.key.open_record(content, place), None)
            for place, content in right.sealed.items()
        },
    )
    assert not careless.are_fresh()
    assert not careless.stay_in_place()


def swapped(folder: Path, key: X25519PrivateKey) -> Image:
    """A payload of two windows whose records changed places, signed as if that were right."""
    content = hashlib.shake_256(b"two windows").digest(8192)
    encoded = encode_full(io.BytesIO(content), folder, Encoding(window_bytes=4096), lambda: None)
    plain = Image("b", "slots", "root", 8192, encoded.sha256, (encoded.payload,))
    recipients = Recipients((key.public_key().public_bytes_raw(),))
    payload = encrypt_payload(encoded.path, encoded.payload, plain, recipients, folder)
    blob = (folder / payload.blob).read_bytes()
    assert payload.encryption is not None
    start, length = payload.index_bytes, 4096 + TAG_BYTES
    one, two = blob[start : start + length], blob[start + length : start + 2 * length]
    envelope = blob[-payload.encryption.envelope_bytes :]
    opened = open_envelope(envelope, pem(key), payload.index_sha256)
    index = bytearray(opened.open_index(blob[:start]))
    for number, record in enumerate((two, one)):
        at = HEADER.size + (number + 1) * ENTRY.size - 32
        index[at : at + 32] = hashlib.sha256(record).digest()
    head = AESGCM(opened.key).encrypt(NONCE.pack(INDEX, 0), bytes(index), None)
    sha256 = hashlib.sha256(head).hexdigest()
    envelope = recipients.envelope(opened.key, sha256)
    made = head + two + one + envelope
    name = hashlib.sha256(made).hexdigest()
    (folder / name).write_bytes(made)
    encryption = replace(payload.encryption, envelope_sha256=hashlib.sha256(envelope).hexdigest())
    return replace(
        plain, payloads=(replace(payload, blob=name, index_sha256=sha256, encryption=encryption),)
    )


def test_records_that_changed_places_are_refused_even_when_their_hashes_say_so(
    tmp_path: Path,
) -> None:
    key = X25519PrivateKey.generate()
    image = swapped(tmp_path, key)
    standby = make_slot(tmp_path / "standby", b"\xaa" * 8192, 8192)
    with pytest.raises(DecryptionError, match="sealed for its place") as told:
        Slots(standby).take(image, Mirror(tmp_path), pem(key))
    assert told.value.code == "payload-encryption"
    assert (tmp_path / "standby").read_bytes()[4096:] == b"\xaa" * 4096


def test_an_envelope_of_another_payload_does_not_open(pair: Made, secret: Sealed) -> None:
    payload = payload_of(secret.image, FULL)
    assert payload.encryption is not None
    content = (secret.blobs / payload.blob).read_bytes()
    envelope = content[-payload.encryption.envelope_bytes :]
    with pytest.raises(DecryptionError):
        open_envelope(envelope, secret.key_pem, pair.image.image.sha256)
    for length in (0, 11, 12, 50, len(envelope) - 1):
        with pytest.raises(DecryptionError):
            open_envelope(envelope[:length], secret.key_pem, payload.index_sha256)


def test_a_kept_image_is_sealed_and_comes_back() -> None:
    key, other = pem(X25519PrivateKey.generate()), pem(X25519PrivateKey.generate())
    content = b"motor firmware" * 100
    sha256 = hashlib.sha256(content).hexdigest()
    kept = seal_kept(key, sha256, content)
    assert content[:32] not in kept
    assert open_kept(key, sha256, kept) == content
    assert open_kept(key, sha256, content) == content  # kept before the device had a key
    assert open_kept(other, sha256, kept) == kept  # whose SHA-256 says the rest
    assert open_kept(key, sha256, kept[:-1] + b"?") != content


def test_the_idle_agent_imports_nothing_for_it() -> None:
    program = (
        "import sys, agent.service, agent.records; "
        "sys.exit(any(name.split('.')[0] == 'cryptography' for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)
