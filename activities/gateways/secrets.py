"""Keys that all processes of an installation share: from the settings or, in development, created once on disk."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from runtime.settings import Settings

SIGNING_KEY_FILE = "keys/signing.pem"
SECRET_FILE = "keys/secret"  # noqa: S105  a name


class Vault:
    """Derives values from the installation's secret: link secrets, next refresh tokens, sealed values."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._seal = Fernet(base64.urlsafe_b64encode(self._derive("seal")))

    @classmethod
    def of(cls, settings: Settings) -> Vault:
        return cls(
            settings.secret_key.get_secret_value()
            or _create_once(settings.data_dir / SECRET_FILE, lambda: secrets.token_urlsafe(48).encode())
        )

    def token(self, purpose: str, *parts: str) -> str:
        """256 bits, URL-safe; the same parts give the same token, so a repeated step needs no stored token."""
        return base64.urlsafe_b64encode(self._derive(purpose, *parts)).rstrip(b"=").decode()

    def link_token(self, link_id: str) -> str:
        """The secret in a mailed link."""
        return self.token("link", link_id)

    def link_digest(self, link_id: str) -> bytes:
        """The digest of the link's secret, which is stored."""
        return token_digest(self.link_token(link_id))

    def seal(self, plain: str) -> bytes:
        """Encrypts and authenticates (Fernet) a value that must be read again."""
        return self._seal.encrypt(plain.encode())

    def open(self, sealed: bytes) -> str:
        """Raises ValueError for a value that was sealed with another secret."""
        try:
            return self._seal.decrypt(sealed).decode()
        except InvalidToken as error:
            raise ValueError("sealed with another secret") from error

    def _derive(self, *parts: str) -> bytes:
        message = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
        return hmac.digest(self._secret, message, hashlib.sha256)


def token_digest(token: str) -> bytes:
    """The stored digest of a 256-bit secret; for such a secret a plain hash is enough."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def signing_key(settings: Settings) -> str:
    """The PEM that signs access tokens (further PEMs behind it only verify)."""
    return settings.signing_key.get_secret_value() or _create_once(settings.data_dir / SIGNING_KEY_FILE, _new_pem)


def _new_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _create_once(path: Path, make: Callable[[], bytes]) -> str:
    """The first process creates the file; the others read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_suffix(f".{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_bytes(make())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text()
