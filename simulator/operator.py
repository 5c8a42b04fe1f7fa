"""The operator of a simulated fleet: signs, publishes, notifies and answers, all in memory.

It uses the operator's own code for metadata and payloads, and keys that follow from the seed, so that
the same seed publishes the same bytes. Everything that a person decides at a real fleet is a method.
"""

import hashlib
import io
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata

from agent.errors import NoticeError
from agent.interfaces import Message
from agent.notice import Notice, encode_notice
from agent.payload import padded_bytes
from agent.release import FIRMWARE, SLOTS, Hosts, Image, Release, encode_release, manifest_path
from agent.report import Outcome, Receipt, Report, encode_receipt, parse_report
from agent.rollout import (
    BUCKETS,
    Audience,
    Halt,
    Halts,
    Phase,
    Rollout,
    Rollouts,
    RolloutState,
    encode_halts,
    encode_rollouts,
    halts_path,
    rollouts_path,
)
from agent.topics import Topics
from fleet.delta.offer import find_base
from fleet.metadata import (
    DELEGATED,
    LISTED,
    OFFLINE,
    Kind,
    RoleName,
    make_delegated,
    make_root,
    make_snapshot,
    make_targets,
    make_timestamp,
    served_document,
)
from fleet.payload import EncodedImage, Encoding, encode_full
from simulator.broker import Hub
from simulator.clock import SimulatedClock
from simulator.deltas import make_delta
from simulator.repository import MemorySource
from simulator.scratch import MEMORY

FLEET: Final = "simulated"
THRESHOLD: Final = 2
TOP_LEVEL: Final = tuple(role for role in RoleName if role not in DELEGATED)
WINDOW_BYTES: Final = 4096
"""Small, so that small images have several windows."""
RELEASED_BEFORE: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ChipFile:
    """An image for a microcontroller, and the systems that it works with."""

    component: str
    hardware_id: str
    content: bytes
    hosts: Hosts


@dataclass(slots=True)
class Operator:
    """One fleet's operator. `content` is the published repository, `reports` what devices said.

    Nothing a device may believe changes before `publish`.
    """

    clock: SimulatedClock
    hub: Hub
    fleet: str = FLEET
    seed: int = 0
    answers: bool = True
    window_bytes: int = WINDOW_BYTES
    content: dict[str, bytes] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)
    reports_heard: list[Report] = field(default_factory=list)
    releases: dict[str, Release] = field(default_factory=dict)
    rollouts: tuple[Rollout, ...] = ()
    halts: tuple[Halt, ...] = ()
    version: int = 0
    roots: int = 0
    generations: dict[RoleName, int] = field(default_factory=dict)

    def open(self) -> None:
        """Publish an empty fleet and listen to its devices."""
        self.publish()
        self.hub.listen(f"lockgate/{self.fleet}/+/report", self._hear)

    @property
    def source(self) -> MemorySource:
        """What the repository serves, as it is at any moment."""
        return MemorySource(self.content)

    @property
    def root_of_trust(self) -> bytes:
        """The first root metadata, which every device is made with."""
        return self.content["metadata/1.root.json"]

    def release(
        self,
        name: str,
        counter: int,
        hardware_id: str,
        parts: Mapping[str, bytes],
        chips: Iterable[ChipFile] = (),
        *,
        kind: str = "feature",
        bases: Iterable[str] = (),
    ) -> Release:
        """Encode the images of one release for one kind of board; signed with the next publication.

        The parts of the slots, of whole sectors, get a delta from each release of `bases`.
        """
        images = [
            self._image(hardware_id, SLOTS, part, content, None) for part, content in parts.items()
        ]
        for base in bases:
            images = [self._with_delta(image, self.releases[base]) for image in images]
        images += [
            self._image(chip.hardware_id, chip.component, FIRMWARE, chip.content, chip.hosts)
            for chip in chips
        ]
        created = self.clock.true_time()
        self.releases[name] = Release(name, counter, kind, created, "", tuple(images))
        return self.releases[name]

    def _image(
        self, hardware_id: str, component: str, part: str, content: bytes, hosts: Hosts | None
    ) -> Image:
        whole = content.ljust(padded_bytes(len(content)), b"\0")
        encoded, blob = _encode(whole, self.window_bytes)
        self.content[encoded.payload.path] = blob
        return Image(
            hardware_id=hardware_id,
            component=component,
            part=part,
            length_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            payloads=(encoded.payload,),
            hosts=hosts,
            windows_sha256=encoded.windows_sha256,
        )

    def _with_delta(self, image: Image, release: Release) -> Image:
        base = find_base(release, image)
        if base is None:
            return image
        blobs = [self.content[one.payloads[0].path] for one in (base, image)]
        made = make_delta(base, blobs[0], image, blobs[1])
        if made is None:
            return image
        payload, blob = made
        self.content[payload.path] = blob
        return replace(image, payloads=(*image.payloads, payload))

    def roll_out(self, rollout_id: str, release: str, *, share: int = BUCKETS) -> Rollout:
        """Start a rollout of a release for this share of all devices, from now on."""
        rollout = Rollout(
            id=rollout_id,
            release=release,
            counter=self.releases[release].counter,
            state=RolloutState.ACTIVE,
            reissue=0,
            failures_max=1,
            audience=Audience((), ()),
            phases=(Phase(share, self.clock.true_time() - RELEASED_BEFORE),),
            window=None,
        )
        self.rollouts = (*self.rollouts, rollout)
        return rollout

    def reissue(self, rollout_id: str) -> None:
        """Let devices that ended this rollout try it once more."""
        self.rollouts = tuple(
            replace(one, reissue=one.reissue + 1) if one.id == rollout_id else one
            for one in self.rollouts
        )

    def halt(self, rollout_id: str, reason: str = "stopped by the operator") -> None:
        """Stop the newest issue of a rollout everywhere."""
        issue = next(one.reissue for one in self.rollouts if one.id == rollout_id)
        self.halts = (*self.halts, Halt(rollout_id, issue, reason, self.clock.true_time()))

    def publish(self, *, signed_at: datetime | None = None, signatures: int = THRESHOLD) -> None:
        """Sign everything anew and put it where devices fetch it, the timestamp last.

        `signed_at` before now makes metadata that may have expired; fewer `signatures` than the
        threshold make metadata that nobody may trust.
        """
        now = signed_at or self.clock.true_time()
        self.version += 1
        documents = self._documents()
        if self.roots == 0:
            self._publish_root(now)
        roles = {RoleName.TARGETS: make_targets(self._public(DELEGATED), now)}
        for role, content in documents.items():
            roles[role] = make_delegated(role, content, now)
            for path, target in roles[role].targets.items():
                self.content[served_document(target)] = content[path]
        for role, signed in roles.items():
            signed.version = self.version
            path = f"metadata/{self.version}.{role.value}.json"
            self.content[path] = self._sign(role, signed, signatures)
        self._publish_online(now)

    def rotate(self, role: RoleName) -> None:
        """Replace the key of an online role by a new root, and sign everything with what holds then."""
        self.generations[role] = self.generations.get(role, 0) + 1
        self._publish_root(self.clock.true_time())
        self.publish()

    def snapshot(self) -> MemorySource:
        """What is published now, to be served again when it is old."""
        return MemorySource(dict(self.content))

    def notify(self, spread_s: int = 0) -> None:
        """Tell the whole fleet to look again."""
        topic = Topics(self.fleet, "-").fleet_notice
        self.hub.publish(Message(topic, encode_notice(Notice(spread_s)), retain=True))

    def answer_all(self) -> None:
        """From now on answer, and first what was left unanswered."""
        self.answers = True
        for report in self.reports.values():
            self._answer(report)

    def outcomes(self) -> list[Outcome]:
        """What devices reported, each report once, in the order in which it was heard of."""
        return [report.outcome for report in self.reports.values()]

    def endings(self) -> list[Outcome]:
        """How updates ended, without what was refused outside of any."""
        return [report.outcome for report in self.reports.values() if report.update]

    def _documents(self) -> dict[RoleName, dict[str, bytes]]:
        rollouts = encode_rollouts(Rollouts(self.fleet, self.rollouts))
        return {
            RoleName.RELEASES: {
                manifest_path(name): encode_release(one) for name, one in self.releases.items()
            },
            RoleName.ROLLOUTS: {rollouts_path(self.fleet): rollouts},
            RoleName.HALTS: {halts_path(self.fleet): encode_halts(Halts(self.fleet, self.halts))},
        }

    def _publish_root(self, now: datetime) -> None:
        self.roots += 1
        root = make_root(self._public(TOP_LEVEL), now)
        root.version = self.roots
        path = f"metadata/{self.roots}.root.json"
        self.content[path] = self._sign(RoleName.ROOT, root, THRESHOLD)

    def _publish_online(self, now: datetime) -> None:
        snapshot = make_snapshot(dict.fromkeys(LISTED, self.version), self.version, now)
        encoded = self._sign(RoleName.SNAPSHOT, snapshot, 1)
        self.content[f"metadata/{self.version}.snapshot.json"] = encoded
        timestamp = make_timestamp(encoded, self.version, self.version, now)
        self.content["metadata/timestamp.json"] = self._sign(RoleName.TIMESTAMP, timestamp, 1)

    def _sign(self, role: RoleName, signed: Kind, signatures: int) -> bytes:
        metadata = Metadata(signed)
        for signer in self._signers(role)[: max(1, signatures)]:
            metadata.sign(signer, append=True)
        return metadata.to_bytes()

    def _signers(self, role: RoleName) -> tuple[CryptoSigner, ...]:
        return _signers(self.seed, role, self.generations.get(role, 0))

    def _public(self, roles: Iterable[RoleName]) -> dict[RoleName, tuple[list[SSlibKey], int]]:
        keys = {}
        for role in roles:
            signers = self._signers(role)
            keys[role] = ([signer.public_key for signer in signers], len(signers))
        return keys

    def _hear(self, message: Message) -> None:
        try:
            report = parse_report(message.content)
        except NoticeError:
            return  # a device may say anything; the operator's own tests look at that
        self.reports_heard.append(report)
        self.reports.setdefault(report.id, report)
        if self.answers:
            self._answer(report)

    def _answer(self, report: Report) -> None:
        topic = Topics(self.fleet, report.device).receipt
        self.hub.publish(Message(topic, encode_receipt(Receipt((report.id,)))))


@cache
def _signers(seed: int, role: RoleName, generation: int) -> tuple[CryptoSigner, ...]:
    """Keys that follow from the seed: repeatable, and of no value anywhere else."""
    count = THRESHOLD if role in OFFLINE else 1
    rows = [f"{seed}/{role}/{generation}/{number}" for number in range(count)]
    return tuple(
        CryptoSigner(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(row.encode()).digest()))
        for row in rows
    )


@cache
def _encode(content: bytes, window_bytes: int) -> tuple[EncodedImage, bytes]:
    """The payload of an image and its bytes; encoded once per process."""
    parent = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="lockgate-sim-", dir=parent) as folder:
        encoding = Encoding(threads=1, window_bytes=window_bytes)
        encoded = encode_full(io.BytesIO(content), Path(folder), encoding, lambda: None)
        return encoded, encoded.path.read_bytes()
