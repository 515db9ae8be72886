"""Second factors, sealed at rest: the secret of an authenticator app is as good as the app."""

from __future__ import annotations

from functools import cache

from allauth.mfa.adapter import DefaultMFAAdapter
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from encrypted_fields.fields import EncryptedTextField


class SealedAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Encrypts with FIELD_ENCRYPTION_KEYS, the newest first; the older ones still open."""

    def encrypt(self, text: str) -> str:
        """Seal a secret for the database."""
        return _fernet().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        """Open a sealed secret; one that no key opens is as good as none."""
        try:
            return _fernet().decrypt(encrypted_text.encode()).decode()
        except InvalidToken:
            return ""


@cache
def _fernet() -> Fernet | MultiFernet:
    fernet: Fernet | MultiFernet = EncryptedTextField().f
    return fernet
