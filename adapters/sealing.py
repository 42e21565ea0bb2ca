"""The key that signs checkpoints, and the file they are published in: both outside the database.

The key is an Ed25519 key in PEM (PKCS 8), as `openssl genpkey -algorithm ed25519` makes one. Its
public half lies beside it, as `….pub`: whoever verifies needs that and the published file.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from domain.chain import Checkpoint

PEM_END = "-----END PUBLIC KEY-----"


class SealUnusable(RuntimeError):
    """The key cannot be used, or the file not written; the message names the cure."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What verifies a checkpoint. ``key_id``: the first 16 hexadecimal digits of the SHA-256 of
    its 32 bytes."""

    key_id: str
    raw: bytes
    pem: str


class Seal:
    """Signs checkpoints and publishes them. Made where the poster runs, and nowhere else."""

    def __init__(self, key: Path, file: Path) -> None:
        """The key is made, readable by its owner only, where there is none.

        :raises SealUnusable: the key is none of Ed25519, or a folder cannot be written.
        """
        self.file = file
        self._key = signing_key(key)
        self.public = _public_of(self._key.public_key())
        self.known = public_keys(public_file(key))
        with _plainly():
            file.parent.mkdir(parents=True, exist_ok=True)
            _mend(file)

    def sign(self, position: int, chain_hash: bytes, at: datetime) -> Checkpoint:
        """A checkpoint of ours. ``at`` is UTC."""
        plain = Checkpoint(position, chain_hash, at)
        signature = self._key.sign(plain.message)
        return Checkpoint(position, chain_hash, at, self.public.key_id, signature)

    def publish(self, sealed: Iterable[Checkpoint]) -> None:
        """Append them to the file; they are on the disk when this returns."""
        lines = b"".join(line_of(one) for one in sealed)
        if lines:
            with self.file.open("ab") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())


class Line(msgspec.Struct, frozen=True):
    """A checkpoint as it is published: one line of JSON. What is signed are the first three."""

    at: datetime
    chain_hash: str  # hexadecimal
    position: int
    key_id: str
    signature: str  # base64


def signing_key(file: Path) -> Ed25519PrivateKey:
    """The key of a file, made where there is none, its public half kept beside it.

    :raises SealUnusable: it is none of Ed25519, or the folder cannot be written.
    """
    with _plainly():
        key = _key_of(file)
        _keep_public(file, _public_of(key.public_key()))
    return key


@contextmanager
def _plainly() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SealUnusable(
            f"Checkpoints cannot be signed or published ({error.strerror}: {error.filename}): "
            "set DAYBOOK_CHECKPOINT_KEY and DAYBOOK_CHECKPOINTS to files that can be written."
        ) from None


def line_of(sealed: Checkpoint) -> bytes:
    """A checkpoint as it is published; `at` is written as it is signed."""
    return (
        msgspec.json.encode(
            {
                "at": sealed.stamp,
                "chain_hash": sealed.chain_hash.hex(),
                "position": sealed.position,
                "key_id": sealed.key_id,
                "signature": b64encode(sealed.signature).decode(),
            }
        )
        + b"\n"
    )


def published(file: Path) -> Iterator[Checkpoint | int]:
    """Every line of the file in order; the number of a line that is no checkpoint.

    :raises FileNotFoundError: there is no file.
    """
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            yield _checkpoint(line) or number


def _checkpoint(line: bytes) -> Checkpoint | None:
    try:
        told = msgspec.json.decode(line, type=Line)
        chain_hash, signature = bytes.fromhex(told.chain_hash), b64decode(told.signature)
    except (msgspec.DecodeError, ValueError):
        return None
    if told.at.tzinfo is None:
        return None
    return Checkpoint(told.position, chain_hash, told.at, told.key_id, signature)


class PublicKeys:
    """The keys whose checkpoints are believed."""

    def __init__(self, keys: Iterable[PublicKey]) -> None:
        self.keys = tuple(keys)
        self._known = {one.key_id: Ed25519PublicKey.from_public_bytes(one.raw) for one in self.keys}

    def complaint(self, sealed: Checkpoint) -> str | None:
        """What is wrong with a checkpoint's signature; None: it is good."""
        key = self._known.get(sealed.key_id)
        if key is None:
            return f"signed by a key that is not known here ({sealed.key_id})"
        try:
            key.verify(sealed.signature, sealed.message)
        except InvalidSignature:
            return "its signature is not of what it says"
        return None


def public_keys(file: Path) -> PublicKeys:
    """The keys of a file: PEM, one after the other. None where there is no file.

    :raises SealUnusable: it holds something else.
    """
    try:
        text = file.read_text()
    except FileNotFoundError:
        return PublicKeys(())
    except (OSError, ValueError) as error:
        raise SealUnusable(f"{file} cannot be read: {type(error).__name__}") from None
    found = []
    for part in text.split(PEM_END)[:-1]:
        try:
            key = serialization.load_pem_public_key(f"{part}{PEM_END}\n".encode())
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise SealUnusable(f"{file} holds a key that is none of Ed25519 in PEM.")
        found.append(_public_of(key))
    return PublicKeys(found)


def public_file(key: Path) -> Path:
    """Where the public half of a key lies."""
    return key.with_name(key.name + ".pub")


def _public_of(key: Ed25519PublicKey) -> PublicKey:
    raw = key.public_bytes_raw()
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return PublicKey(sha256(raw).hexdigest()[:16], raw, pem.decode())


def _key_of(file: Path) -> Ed25519PrivateKey:
    """The key of a file; a new one is made and kept there if there is none."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        half = file.with_name(f".{file.name}.{os.getpid()}")
        half.unlink(missing_ok=True)
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as made:
            made.write(pem)
            made.flush()
            os.fsync(made.fileno())
        with suppress(FileExistsError):  # then somebody was faster, and theirs it is
            file.hardlink_to(half)
        half.unlink()
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SealUnusable(f"{file} holds no Ed25519 key in PEM without a password.")
    return key


def _keep_public(key: Path, public: PublicKey) -> None:
    """Put the public half beside the key. Those of keys before it stay."""
    file = public_file(key)
    if public.key_id not in {one.key_id for one in public_keys(file).keys}:
        with file.open("a") as kept:
            kept.write(public.pem)


def _mend(file: Path) -> None:
    """Take back a last line that was cut off while it was written."""
    if not file.exists():
        return
    with file.open("r+b") as kept:
        text = kept.read()
        if not text.endswith(b"\n"):
            kept.truncate(text.rfind(b"\n") + 1)
