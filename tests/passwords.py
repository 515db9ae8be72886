"""Password hashing that is fast in tests and that a real server can still check."""

from __future__ import annotations

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class OneRound(PBKDF2PasswordHasher):
    """PBKDF2 with a single iteration; each hash contains its number of iterations."""

    iterations = 1
