"""Encrypt MFA secrets at rest.

The secret of an authenticator app is enough to generate its codes.
"""

from __future__ import annotations

from functools import cache

from allauth.mfa.adapter import DefaultMFAAdapter
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from encrypted_fields.fields import EncryptedTextField


class EncryptedMfaAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """MFA adapter that encrypts with the newest FIELD_ENCRYPTION_KEYS and decrypts with all."""

    def encrypt(self, text: str) -> str:
        """Encrypt a secret for the database."""
        return _get_fernet().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        """Decrypt a secret; return "" if no key fits."""
        try:
            return _get_fernet().decrypt(encrypted_text.encode()).decode()
        except InvalidToken:
            return ""


@cache
def _get_fernet() -> Fernet | MultiFernet:
    fernet: Fernet | MultiFernet = EncryptedTextField().f
    return fernet
