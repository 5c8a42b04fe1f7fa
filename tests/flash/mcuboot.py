"""Makes MCUboot images with imgtool, which is MCUboot's own."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from agent.flash.mcuboot_image import PublicKey, load_public_key

IMGTOOL: Final = str(Path(sys.executable).with_name("imgtool"))


@dataclass(frozen=True, slots=True)
class Signer:
    """A key pair in two files."""

    private: Path
    public: Path

    @property
    def key(self) -> PublicKey:
        return load_public_key(self.public.read_bytes(), str(self.public))


def make_signer(folder: Path, kind: str = "ed25519") -> Signer:
    """A new key pair; one folder for each."""
    folder.mkdir(parents=True, exist_ok=True)
    signer = Signer(folder / "private.pem", folder / "public.pem")
    key = Ed25519PrivateKey.generate() if kind == "ed25519" else generate_private_key(SECP256R1())
    signer.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    signer.public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return signer


def sign(
    folder: Path,
    program: bytes,
    signer: Signer | None,
    *,
    version: str = "1.0.0",
    counter: int | None = None,
    header_bytes: int = 32,
    arguments: tuple[str, ...] = (),
) -> bytes:
    """The image of a program, as imgtool makes it."""
    source, target = folder / f"program-{version}.bin", folder / f"image-{version}.bin"
    source.write_bytes(program)
    command = [IMGTOOL, "sign", "--version", version, "--header-size", str(header_bytes)]
    command += ["--pad-header", "--slot-size", str(1024 * 1024), "--align", "4", *arguments]
    command += ["--key", str(signer.private)] if signer else []
    command += ["--security-counter", str(counter)] if counter is not None else []
    run = subprocess.run(
        [*command, str(source), str(target)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return target.read_bytes()


def imgtool_accepts(folder: Path, image: bytes, signer: Signer) -> bool:
    """Whether imgtool finds this key's signature on the image."""
    file = folder / "judged.bin"
    file.write_bytes(image)
    run = subprocess.run(
        [IMGTOOL, "verify", "--key", str(signer.public), str(file)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    return run.returncode == 0
