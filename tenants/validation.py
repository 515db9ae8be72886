"""Validation and normalization of user input; invalid values raise `Invalid`."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING
from zoneinfo import available_timezones

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.translation import gettext as _

from tenants.errors import Invalid

if TYPE_CHECKING:
    from tenants.models import User

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
# Control characters, including NUL, and surrogates: PostgreSQL cannot store them properly.
_FORBIDDEN_CATEGORIES = {"Cc", "Cs"}
MAX_PASSWORD_LENGTH = 4096


def clean_text(value: object, *, param: str, most: int, least: int = 1) -> str:
    """Return one line of `least` to `most` characters, stripped of surrounding whitespace."""
    if not isinstance(value, str):
        raise Invalid(_("This must be a string."), param=param)
    text = value.strip()
    if any(unicodedata.category(character) in _FORBIDDEN_CATEGORIES for character in text):
        raise Invalid(_("This contains characters that are not allowed."), param=param)
    if len(text) < least:
        raise Invalid(_("This field is required."), param=param)
    if len(text) > most:
        raise Invalid(_("This must be at most %d characters long.") % most, param=param)
    return text


def clean_email_address(value: object, *, param: str = "email") -> str:
    """Return an e-mail address in lower case."""
    address = clean_text(value, param=param, most=254).lower()
    try:
        validate_email(address)
    except ValidationError:
        raise Invalid(_("Enter a valid email address."), param=param) from None
    return address


def clean_slug(value: object, *, param: str = "slug") -> str:
    """Return a slug of lower-case letters, digits and single hyphens."""
    slug = clean_text(value, param=param, most=50)
    if not _SLUG.fullmatch(slug):
        message = _("Use lowercase letters, digits and single hyphens only.")
        raise Invalid(message, param=param)
    return slug


def clean_color(value: object, *, param: str = "color") -> str:
    """Return a colour of the form #2563eb."""
    color = clean_text(value, param=param, most=7)
    if not _COLOR.fullmatch(color):
        raise Invalid(_("Use the format #2563eb."), param=param)
    return color.lower()


def clean_choice(value: object, choices: list[str], *, param: str) -> str:
    """Return `value` if it is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise Invalid(_("Choose one of: %s.") % ", ".join(choices), param=param)
    return str(value)


def clean_language(value: object, *, param: str = "language") -> str:
    """Return the code of a supported language."""
    return clean_choice(value, [code for code, name in settings.LANGUAGES], param=param)


def clean_zone(value: object, *, param: str = "zone") -> str:
    """Return the name of a time zone."""
    if not isinstance(value, str) or value not in available_timezones():
        raise Invalid(_("Unknown time zone."), param=param)
    return value


def clean_password(value: object, *, user: User | None = None, param: str = "password") -> str:
    """Return a password that is strong enough; it is not stripped, any character is allowed."""
    if not isinstance(value, str) or not value or "\x00" in value:
        raise Invalid(_("Enter a password."), param=param)
    try:
        value.encode()
        validate_password(value, user)
    except UnicodeEncodeError:
        raise Invalid(_("Choose a different password."), param=param) from None
    except ValidationError as error:
        raise Invalid(" ".join(error.messages), param=param) from None
    if len(value) > MAX_PASSWORD_LENGTH:
        raise Invalid(
            _("This must be at most %d characters long.") % MAX_PASSWORD_LENGTH, param=param
        )
    return value
