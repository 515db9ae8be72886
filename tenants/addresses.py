"""Checks of untrusted URLs, hosts and IP addresses (protection against SSRF).

Names are not resolved here. Code that connects to a host must check the resolved address with
`is_global_address`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

WEB_PORTS = frozenset({80, 443})
MAX_HOST_LENGTH = 253
# Names of this machine and of the local network.
LOCAL_DOMAINS = frozenset(
    {
        *("localhost", "localdomain", "local", "internal", "intranet", "private", "lan", "home"),
        *("corp", "home.arpa", "in-addr.arpa", "ip6.arpa", "invalid", "onion"),
    }
)
_URL = re.compile(r"(https?)://([^/?#]*)(?:[/?#].*)?", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([1-9][0-9]{0,4}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DOTS = str.maketrans("\u3002\uff0e\uff61", "...")
_DEFAULT_PORTS = {"http": 80, "https": 443}

_GLOBAL_IPV6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")
_TEREDO = IPv6Network("2001::/32")
_ISATAP = (0x00005EFE, 0x02005EFE)
# Not globally routable, although some versions of Python report these as global.
_RESERVED = (
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    # Azure's virtual public IP: it serves a machine's configuration.
    IPv4Network("168.63.129.16/32"),
    IPv6Network("3fff::/20"),
    IPv6Network("fec0::/10"),
)

Address = IPv4Address | IPv6Address


class RefusedAddress(ValueError):
    """A forbidden address. The message is a sentence to show to the user."""


def check_web_address(url: str, *, allowed_hosts: Collection[str] = ()) -> None:
    """Check that `url` leads to the public web, regardless of which program parses it.

    `allowed_hosts` ("name" or "name:port") are exempt from the checks of hosts and ports.

    Raises:
        RefusedAddress: The scheme is not http or https; the URL has control characters, blanks,
            backslashes or a user name; the port is not 80 or 443; or the host is a local name or
            an address, in any spelling, that is not globally routable.
    """
    if any(_is_ambiguous(character) for character in url):
        raise RefusedAddress("The URL contains a space, control character or backslash.")
    match = _URL.fullmatch(url)
    if match is None:
        raise RefusedAddress("Expected an http or https URL.")
    scheme, authority = match[1].lower(), match[2]
    if "@" in authority:
        raise RefusedAddress("The URL must not contain a user name or password.")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None or not parts[1]:
        raise RefusedAddress("The URL has no valid host and port.")
    host = normalize_host(parts[1])
    port = int(parts[2] or _DEFAULT_PORTS[scheme])
    allowed = {entry.lower() for entry in allowed_hosts}
    if f"{host}:{port}" in allowed or (host in allowed and port in WEB_PORTS):
        return
    if port not in WEB_PORTS:
        raise RefusedAddress("The URL must use port 80 or 443.")
    if not is_global_host(host):
        raise RefusedAddress("The URL must point to a host on the public internet.")


def _is_ambiguous(character: str) -> bool:
    """Return True for a character that programs interpret differently in an address."""
    # Cc: control characters, Cs: surrogates, Z: blanks and line ends.
    return character == "\\" or unicodedata.category(character) in ("Cc", "Cs", "Zs", "Zl", "Zp")


def normalize_host(host: str) -> str:
    """Return a host in lower-case ASCII without a trailing dot; IPv6 addresses in brackets.

    Raises:
        RefusedAddress: The host is invalid or percent-encoded.
    """
    if host.startswith("["):
        try:
            return f"[{IPv6Address(host[1:-1])}]" if "%" not in host else _refuse_host()
        except ValueError:
            return _refuse_host()
    # Programs fold compatible characters in international names and drop ignorable ones.
    text = unicodedata.normalize("NFKC", host.translate(_DOTS)).translate(_DOTS)
    text = "".join(character for character in text if unicodedata.category(character) != "Cf")
    try:
        name = text.encode("idna").decode().lower() if not text.isascii() else text.lower()
    except UnicodeError:
        return _refuse_host()
    name = name.removesuffix(".")
    labels = name.split(".")
    if len(name) > MAX_HOST_LENGTH or not all(_LABEL.fullmatch(label) for label in labels):
        return _refuse_host()
    return name


def _refuse_host() -> str:
    raise RefusedAddress("The URL has no valid host and port.")


def is_global_host(host: str) -> bool:
    """Return True if a normalized host is a public name or a globally routable address.

    Programs interpret short, decimal, octal and hexadecimal spellings of IPv4 addresses
    differently, so only four decimal numbers are accepted.
    """
    if host.startswith("["):
        return is_global_address(IPv6Address(host[1:-1]))
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return is_global_address(IPv4Address(host))
        except ValueError:
            return False
    suffixes = {".".join(labels[at:]) for at in range(len(labels))}
    # A name without a dot belongs to the local network.
    return len(labels) > 1 and not suffixes & LOCAL_DOMAINS


def is_global_address(address: Address | str) -> bool:
    """Return True if an address, or the IPv4 address embedded in it, is globally routable."""
    if isinstance(address, str):
        address = ip_address(address)
    if isinstance(address, IPv6Address):
        embedded = _extract_ipv4(address)
        if embedded is not None:
            return is_global_address(embedded)
        if address not in _GLOBAL_IPV6 or address in _TEREDO:
            return False
    special = address.is_multicast or address.is_reserved or address.is_unspecified
    reserved = any(address in network for network in _RESERVED)
    return address.is_global and not special and not reserved


def _extract_ipv4(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address embedded in an IPv6 address, or None."""
    last = int(address) & 0xFFFFFFFF
    wraps = address in _NAT64 or address in _COMPATIBLE
    if wraps or (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return IPv4Address(last)
    return address.ipv4_mapped or address.sixtofour
