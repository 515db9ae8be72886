"""Which addresses on the web may be handed to, or reached for, somebody who is not trusted.

Names are not resolved here: whoever connects to one has to check the address it resolves to,
with `is_global_address`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

WEB_PORTS = frozenset({80, 443})
MAX_HOST = 253
# Names that mean this machine or the network it stands in.
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
# Not for the public, and not known as such to every version of Python.
_RESERVED = (
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    # Within Azure it answers every machine with its configuration.
    IPv4Network("168.63.129.16/32"),
    IPv6Network("3fff::/20"),
    IPv6Network("fec0::/10"),
)

Address = IPv4Address | IPv6Address


class RefusedAddress(ValueError):
    """An address that may not be used. Its text is a sentence for whoever gave it."""


def check_web_address(url: str, *, allowed_hosts: Collection[str] = ()) -> None:
    """Check that `url` leads to the public web, whichever program reads it.

    `allowed_hosts` are hosts, as "name" or "name:port", that are exempt from what is checked of
    hosts and ports.

    Raises:
        RefusedAddress: for another scheme than http and https; control characters, blanks and
            backslashes; a user name; ports but 80 and 443; names of the local network; and
            addresses that are not globally routable, however they are written.
    """
    if any(_is_unclear(character) for character in url):
        raise RefusedAddress("The address holds a blank, a control character or a backslash.")
    found = _URL.fullmatch(url)
    if found is None:
        raise RefusedAddress("Expected a http or https address.")
    scheme, authority = found[1].lower(), found[2]
    if "@" in authority:
        raise RefusedAddress("The address must not hold a user name or password.")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None or not parts[1]:
        raise RefusedAddress("The address has no valid host and port.")
    host = normalize_host(parts[1])
    port = int(parts[2] or _DEFAULT_PORTS[scheme])
    allowed = {entry.lower() for entry in allowed_hosts}
    if f"{host}:{port}" in allowed or (host in allowed and port in WEB_PORTS):
        return
    if port not in WEB_PORTS:
        raise RefusedAddress("The address must use port 80 or 443.")
    if not is_global_host(host):
        raise RefusedAddress("The address must lead to a host on the public internet.")


def _is_unclear(character: str) -> bool:
    """Tell whether programs disagree about what a character in an address means."""
    # Cc: control characters, Cs: surrogates, Z: blanks and line ends.
    return character == "\\" or unicodedata.category(character) in ("Cc", "Cs", "Zs", "Zl", "Zp")


def normalize_host(host: str) -> str:
    """Return a host in lower-case ASCII without a dot at its end, an IPv6 one in brackets.

    Raises:
        RefusedAddress: for one that is percent-encoded or no host.
    """
    if host.startswith("["):
        try:
            return f"[{IPv6Address(host[1:-1])}]" if "%" not in host else _refuse_host()
        except ValueError:
            return _refuse_host()
    # As programs read international names: compatible characters are one, ignorable ones nothing.
    text = unicodedata.normalize("NFKC", host.translate(_DOTS)).translate(_DOTS)
    text = "".join(character for character in text if unicodedata.category(character) != "Cf")
    try:
        name = text.encode("idna").decode().lower() if not text.isascii() else text.lower()
    except UnicodeError:
        return _refuse_host()
    name = name.removesuffix(".")
    labels = name.split(".")
    if len(name) > MAX_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        return _refuse_host()
    return name


def _refuse_host() -> str:
    raise RefusedAddress("The address has no valid host and port.")


def is_global_host(host: str) -> bool:
    """Tell whether a normalized host is a public name, or a globally routable address.

    IPv4 has many spellings (short, decimal, octal, hexadecimal) that programs read differently:
    only four decimal numbers are taken for an address, any other spelling is refused.
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
    # A name without a dot is one of the local network.
    return len(labels) > 1 and not suffixes & LOCAL_DOMAINS


def is_global_address(address: Address | str) -> bool:
    """Tell whether an address is globally routable, also one that an IPv6 address wraps."""
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
    """Return the IPv4 address that an IPv6 address leads to, None where it wraps none."""
    last = int(address) & 0xFFFFFFFF
    wraps = address in _NAT64 or address in _COMPATIBLE
    if wraps or (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return IPv4Address(last)
    return address.ipv4_mapped or address.sixtofour
