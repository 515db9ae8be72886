"""Password hashing that a test can afford and a real server can still check."""

from __future__ import annotations

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class OneRound(PBKDF2PasswordHasher):
    """PBKDF2 with its number of rounds, which the hash names, at one."""

    iterations = 1
