"""Parsing of EMAIL_URL."""

from __future__ import annotations

import pytest

from config.backends.mail import DUMMY, parse_email_url


def test_no_address_means_no_mail() -> None:
    assert parse_email_url("") == {"EMAIL_BACKEND": DUMMY}


def test_name_and_password_are_decoded() -> None:
    found = parse_email_url("smtp+tls://a%40b:p%2Fq@mail.example")
    assert (found["EMAIL_HOST_USER"], found["EMAIL_HOST_PASSWORD"]) == ("a@b", "p/q")


@pytest.mark.parametrize(
    ("url", "port", "tls", "ssl"),
    [
        ("smtp://mail.example", 25, False, False),
        ("smtp://mail.example:2525", 2525, False, False),
        ("smtp://mail.example:587/?tls=True", 587, True, False),
        ("smtp+tls://mail.example", 587, True, False),
        ("smtps://mail.example", 465, False, True),
    ],
)
def test_connection_is_secured_as_asked(url: str, port: int, tls: bool, ssl: bool) -> None:
    found = parse_email_url(url)
    assert (found["EMAIL_PORT"], found["EMAIL_USE_TLS"], found["EMAIL_USE_SSL"]) == (port, tls, ssl)


@pytest.mark.parametrize("url", ["mail.example", "http://mail.example", "smtp://", "smtp://h:x"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_email_url(url)
