"""Django's EMAIL_ settings from EMAIL_URL."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

SMTP = "django.core.mail.backends.smtp.EmailBackend"
CONSOLE = "django.core.mail.backends.console.EmailBackend"
DUMMY = "django.core.mail.backends.dummy.EmailBackend"
# Default port of each connection security.
PORTS = {"": 25, "tls": 587, "ssl": 465}
SECURITY = {"smtp": "", "smtp+tls": "tls", "smtp+ssl": "ssl", "smtps": "ssl"}
# A mail server that does not answer must not block a request for longer.
TIMEOUT_SECONDS = 10


def parse_email_url(url: str) -> dict[str, Any]:
    """Return Django's EMAIL_ settings for a URL; an empty one disables mail.

    smtp://user:password@host:port, with ?tls=true or ?ssl=true; smtp+tls:// (587), smtps:// (465);
    console:// prints. Special characters in user and password are percent-encoded.

    Raises:
        ValueError: the URL has another scheme, or no host.
    """
    if not url:
        return {"EMAIL_BACKEND": DUMMY}
    parts = urlsplit(url)
    if parts.scheme == "console":
        return {"EMAIL_BACKEND": CONSOLE}
    if parts.scheme not in SECURITY or not parts.hostname:
        raise ValueError("it must look like smtp+tls://user:password@mail.example.com.")
    asked = {name for name, values in parse_qs(parts.query).items() if values[-1].lower() == "true"}
    security = SECURITY[parts.scheme] or next((way for way in ("ssl", "tls") if way in asked), "")
    return {
        "EMAIL_BACKEND": SMTP,
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or PORTS[security],
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": security == "tls",
        "EMAIL_USE_SSL": security == "ssl",
        "EMAIL_TIMEOUT": TIMEOUT_SECONDS,
    }
