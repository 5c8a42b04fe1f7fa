"""The release manifest: what a release is. Pure; signed as TUF target `releases/NAME.json`.

    {"schema": 1, "name": "2026.2", "counter": 2, "kind": "feature" | "security", "created": DATE,
     "notes": TEXT,
     "images": [{"hardware_id": TEXT, "component": "slots", "part": "root",
                 "length_bytes": N, "sha256": HEX, "windows_sha256": HEX,
                 "payloads": [{"kind": "full", "blob": HEX, "length_bytes": N,
                               "index_bytes": N, "index_sha256": HEX},
                              {"kind": "delta", ..., "base_sha256": HEX, "base_bytes": N}]}]}

An image for a microcontroller has the name from the board profile as its `component`, the part
`firmware`, the chip's own hardware id, and the release counters of the systems that it works with, its
own release among them or not:

     {"hardware_id": TEXT, "component": NAME, "part": "firmware", ...,
      "hosts": {"counter_min": N, "counter_max": N}}

A payload that is encrypted, as `docs/payload.md` has it, says so in its kind and how in a table:

     {"kind": "encrypted-full" | "encrypted-delta", ...,
      "encryption": {"scheme": NAME, "envelope_bytes": N, "envelope_sha256": HEX}}

`windows_sha256` is the SHA-256 of the SHA-256s of all windows of the image, one behind the other, as its full
payload cuts it: by this a device that checks window after window knows the whole. `blob` is the payload's
SHA-256 and its name in the repository, `blobs/HEX`; `base_sha256` and `base_bytes` name the image that a
delta builds upon. A payload of a kind that is not known here is as if it were not there: a release may have
some for newer agents.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from agent.encryption import ENVELOPE_BYTES_MAX, SCHEME
from agent.errors import TrustError
from agent.payload import INDEX_BYTES_MAX
from agent.strict import Fields, Refusal, encode_json, format_time, load_json

SCHEMA: Final = 1
MANIFEST_BYTES_MAX: Final = 1024 * 1024
IMAGE_BYTES_MAX: Final = 2**40
SLOTS: Final = "slots"
"""The component that is the A/B pair."""
FIRMWARE: Final = "firmware"
"""The one part of every microcontroller."""
CHIP_IMAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""The images of microcontrollers are kept whole on the device, and in memory while they are written."""
ENCRYPTED: Final = "encrypted-"
"""What stands before the kind of a payload that is encrypted, so that older agents pass it over."""
FULL: Final = "full"
"""The kind of payload that needs nothing but itself."""
DELTA: Final = "delta"
"""The kind of payload that needs its base image, most of it unchanged, in the active slot."""


@dataclass(frozen=True, slots=True)
class Encryption:
    """How a payload is encrypted; of a scheme that this agent does not know, only its name is known."""

    scheme: str
    envelope_bytes: int = 0
    envelope_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Payload:
    """One way in which an image travels; `encryption` is None for one that anyone can read."""

    kind: str
    blob: str
    length_bytes: int
    index_bytes: int
    index_sha256: str
    base_sha256: str = ""
    base_bytes: int = 0
    encryption: Encryption | None = None

    @property
    def path(self) -> str:
        """Where the repository has it."""
        return f"blobs/{self.blob}"


@dataclass(frozen=True, slots=True)
class Hosts:
    """The release counters of the systems that a microcontroller's image works with, both included."""

    counter_min: int
    counter_max: int

    def allow(self, counter: int) -> bool:
        """Whether it works with the system of this release counter."""
        return self.counter_min <= counter <= self.counter_max


@dataclass(frozen=True, slots=True)
class Image:
    """The bytes that must end up on one part of one component of boards with this hardware id.

    `hosts` is None for slots, and never for a microcontroller. `windows_sha256` is empty in older manifests.
    """

    hardware_id: str
    component: str
    part: str
    length_bytes: int
    sha256: str
    payloads: tuple[Payload, ...]
    hosts: Hosts | None = None
    windows_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """A named set of images with a counter that never goes down on a device."""

    name: str
    counter: int
    kind: str
    created: datetime
    notes: str
    images: tuple[Image, ...]


def manifest_path(name: str) -> str:
    """The TUF target that holds this release's manifest."""
    return f"releases/{name}.json"


def parse_release(content: bytes) -> Release:
    """The release in a manifest whose signature has been verified. Raises `TrustError`."""
    refusal = Refusal(TrustError, "release manifest")
    fields = load_json(content, length_max=MANIFEST_BYTES_MAX, refusal=refusal)
    fields.integer("schema", SCHEMA, SCHEMA)
    release = Release(
        name=fields.name("name"),
        counter=fields.integer("counter", 1),
        kind=fields.choice("kind", "feature", "security"),
        created=fields.time("created"),
        notes=fields.text("notes", "", length_max=4096),
        images=tuple(_image(row) for row in fields.tables("images")),
    )
    fields.done()
    places = {(image.hardware_id, image.component, image.part) for image in release.images}
    if len(places) != len(release.images):
        fields.refuse("images", "two images are for the same part of the same hardware id")
    return release


def _image(fields: Fields) -> Image:
    component = fields.name("component")
    image = Image(
        hardware_id=fields.text("hardware_id", length_max=128),
        component=component,
        part=fields.name("part"),
        length_bytes=fields.integer("length_bytes", 1, IMAGE_BYTES_MAX),
        sha256=fields.sha256("sha256"),
        payloads=tuple(
            _payload(row)
            for row in fields.tables("payloads", length_max=64)
            if row.name("kind").removeprefix(ENCRYPTED) in (FULL, DELTA)
        ),
        hosts=None if component == SLOTS else hosts_fields(fields.table("hosts")),
        windows_sha256=fields.sha256("windows_sha256") if "windows_sha256" in fields else "",
    )
    fields.done()
    return image


def hosts_fields(fields: Fields) -> Hosts:
    """The table that says which systems an image works with."""
    low = fields.integer("counter_min", 0)
    hosts = Hosts(low, fields.integer("counter_max", low))
    fields.done()
    return hosts


def _payload(fields: Fields) -> Payload:
    encrypted = fields.name("kind").startswith(ENCRYPTED)
    kind = fields.name("kind").removeprefix(ENCRYPTED)
    payload = Payload(
        kind=kind,
        blob=fields.sha256("blob"),
        length_bytes=fields.integer("length_bytes", 1, IMAGE_BYTES_MAX),
        index_bytes=fields.integer("index_bytes", 1, INDEX_BYTES_MAX),
        index_sha256=fields.sha256("index_sha256"),
        base_sha256=fields.sha256("base_sha256") if kind == DELTA else "",
        base_bytes=fields.integer("base_bytes", 1, IMAGE_BYTES_MAX) if kind == DELTA else 0,
        encryption=encryption_fields(fields.table("encryption")) if encrypted else None,
    )
    fields.done()
    envelope_bytes = payload.encryption.envelope_bytes if payload.encryption else 0
    if payload.index_bytes + envelope_bytes > payload.length_bytes:
        fields.refuse("index_bytes", f"at most the payload's {payload.length_bytes} were expected")
    return payload


def encryption_fields(fields: Fields) -> Encryption:
    """The table that says how a payload is encrypted; one of a later scheme may say anything else."""
    scheme = fields.name("scheme")
    if scheme != SCHEME:
        return Encryption(scheme)
    encryption = Encryption(
        scheme=scheme,
        envelope_bytes=fields.integer("envelope_bytes", 1, ENVELOPE_BYTES_MAX),
        envelope_sha256=fields.sha256("envelope_sha256"),
    )
    fields.done()
    return encryption


def payload_document(payload: Payload) -> dict[str, object]:
    """A payload as the manifest has it."""
    document: dict[str, object] = {
        "kind": (ENCRYPTED if payload.encryption else "") + payload.kind,
        "blob": payload.blob,
        "length_bytes": payload.length_bytes,
        "index_bytes": payload.index_bytes,
        "index_sha256": payload.index_sha256,
    }
    if payload.kind == DELTA:
        document |= {"base_sha256": payload.base_sha256, "base_bytes": payload.base_bytes}
    if payload.encryption is not None:
        document["encryption"] = asdict(payload.encryption)
    return document


def encode_release(release: Release) -> bytes:
    """The manifest of a release; `parse_release` reads it back."""
    return encode_json(
        {
            "schema": SCHEMA,
            "name": release.name,
            "counter": release.counter,
            "kind": release.kind,
            "created": format_time(release.created),
            "notes": release.notes,
            "images": [
                {
                    "hardware_id": image.hardware_id,
                    "component": image.component,
                    "part": image.part,
                    "length_bytes": image.length_bytes,
                    "sha256": image.sha256,
                    "payloads": [payload_document(payload) for payload in image.payloads],
                    **({} if image.hosts is None else {"hosts": asdict(image.hosts)}),
                    **({"windows_sha256": image.windows_sha256} if image.windows_sha256 else {}),
                }
                for image in release.images
            ],
        }
    )
