"""Signed text in a URL: nobody without the key can make one, everybody can carry it.

``<payload>.<signature>``, both base64url; the signature is HMAC-SHA256, cut to 128 bits. What the payload means,
until when it holds and how often it may be used is its maker's business.
"""

import base64
import hashlib
import hmac
import secrets
from pathlib import Path

from aiops.kit.files import read_limited, write_atomically

_SIGNATURE_BYTES = 16
_KEY_BYTES = 32
_LONGEST_TOKEN = 2048


def key_in(path: Path) -> bytes:
    """The key in a file of mode 0600, made when it is not there or too short to be one.

    Raises
    ------
    OSError
        When it can neither be read nor made.
    """
    try:
        key = read_limited(path, _KEY_BYTES)
    except FileNotFoundError:
        key = b""
    if len(key) < _KEY_BYTES:
        key = secrets.token_bytes(_KEY_BYTES)
        write_atomically(path, key, mode=0o600)
    return key


def signed(key: bytes, payload: str) -> str:
    """Payload and signature, fit for a path segment of a URL."""
    body = payload.encode()
    return f"{_encoded(body)}.{_encoded(_signature(key, body))}"


def payload_of(key: bytes, token: str) -> str | None:
    """What was signed; None for anything that this key did not sign."""
    body, _, signature = token.partition(".")
    try:
        payload, claimed = _decoded(body), _decoded(signature)
        text = payload.decode()
    except ValueError:
        return None
    genuine = hmac.compare_digest(claimed, _signature(key, payload))
    return text if genuine and len(token) <= _LONGEST_TOKEN else None


def _signature(key: bytes, body: bytes) -> bytes:
    return hmac.new(key, body, hashlib.sha256).digest()[:_SIGNATURE_BYTES]


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
