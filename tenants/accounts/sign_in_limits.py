"""Rate limits of sign-in that slow down guessing without locking out the owner.

Wrong passwords and codes are counted per account and client, so failures of an attacker do not
affect the owner on another client. A client is a known device (the account has signed in on it
before, proven by a signed cookie) or else the IP address of the request. If many unknown clients
guess at one account, or one address guesses at many accounts, each unknown client must wait for
a turn (a time slot). A known device needs no turn. An account that has signed in from an address
before needs no turn for failures of other accounts at that address.

A rejected attempt names the seconds to wait and blocks no thread. All counters are in the cache.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from dataclasses import dataclass
from typing import NoReturn

from allauth.core.internal.ratelimit import get_ip
from django.conf import settings
from django.core import signing
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.translation import ngettext

from tenants import clock
from tenants.models import User

FAILURE_TTL_SECONDS = 3600  # a client's failures expire this long after the last one
TURN_TTL_SECONDS = 1800  # a client may use its turn for this long
KNOWN_ADDRESS_TTL_SECONDS = 30 * 86_400
KNOWN_DEVICE_TTL_SECONDS = 180 * 86_400
DEVICE_SALT = "tenants.device"


@dataclass(frozen=True, kw_only=True)
class TurnPolicy:
    """Rule for when unknown clients need a turn: one attempt per `interval` seconds.

    A client keeps its turn until it uses it, and waits at most `max_wait` seconds. If all turns
    within `max_wait` are taken, `shares_last` decides. True: further clients share the last
    turn, so that many attackers cannot shut out the owner. False: they get no turn yet, so that
    there is never more than one attempt per interval.
    """

    setting: str
    period: int
    interval: int
    max_wait: int
    shares_last: bool = True

    @property
    def free_failures(self) -> int:
        """Return the number of failures per period before clients need a turn."""
        return int(getattr(settings, self.setting))

    def get_wait(self, key: str, client: str) -> int:
        """Return the seconds until the client may try; assign a turn if it needs one."""
        if cache.get(key, 0) < self.free_failures:
            return 0
        now, turn = clock.get_timestamp(), f"{key}:{client}"
        due: float | None = cache.get(turn)
        if due is None:
            number = self._assign_turn(key, now)
            if number is None:
                return self.max_wait
            due = min(number * self.interval, now + self.max_wait)
            cache.set(turn, due, timeout=self.max_wait + TURN_TTL_SECONDS)
        return max(0, math.ceil(due - now))

    def use(self, key: str, client: str) -> bool:
        """Count the attempt as a failure; return False if another request has used the turn."""
        if cache.get(key, 0) >= self.free_failures and not cache.delete(f"{key}:{client}"):
            return False
        _increment(key, 1, seconds=self.period)
        return True

    def _assign_turn(self, key: str, now: float) -> int | None:
        """Return the next free interval, numbered from the epoch, or None if none is free."""
        first, last = int(now / self.interval) + 1, int((now + self.max_wait) / self.interval)
        number = _increment(f"{key}:turns", 1, seconds=2 * self.max_wait)
        if first <= number <= last:
            return number
        cache.set(f"{key}:turns", first if number < first else last, timeout=2 * self.max_wait)
        if number < first:
            return first
        return last if self.shares_last else None


ACCOUNT_PASSWORD_POLICY = TurnPolicy(
    setting="SIGN_IN_FAILURES_OF_ACCOUNT", period=3600, interval=10, max_wait=300
)
# An address that tries many accounts waits longer for each of them, up to an hour.
ADDRESS_PASSWORD_POLICY = TurnPolicy(
    setting="SIGN_IN_FAILURES_FROM_ADDRESS",
    period=3600,
    interval=1,
    max_wait=3600,
    shares_last=False,
)
# Strict, because the client already knows the password and a code has only six digits.
ACCOUNT_CODE_POLICY = TurnPolicy(
    setting="SIGN_IN_FAILURES_OF_CODES", period=3600, interval=60, max_wait=900
)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One password or code attempt of one client.

    `turns` holds the counters of unknown clients and is empty for a known device. If `known` is
    set, a success is remembered under that cache key.
    """

    pair: str
    turns: tuple[tuple[str, TurnPolicy], ...] = ()
    known: str = ""

    def begin(self) -> int:
        """Count the attempt as a failure until `succeed`; return 0 or the seconds to wait."""
        if cache.get(f"{self.pair}:good", 0) >= settings.SIGN_INS_PER_MINUTE:
            return 60
        tries, until = _increment(self.pair, 1, seconds=FAILURE_TTL_SECONDS), f"{self.pair}:until"
        free = settings.SIGN_IN_FREE_TRIES
        if tries > free:
            wait = min(2 ** min(tries - free, 16), settings.SIGN_IN_MAX_WAIT_SECONDS)
            # Of several concurrent requests, one passes and the others wait.
            if not cache.add(until, clock.get_timestamp() + wait, timeout=wait):
                _increment(self.pair, -1, seconds=FAILURE_TTL_SECONDS)
                return max(1, math.ceil(float(cache.get(until, 0)) - clock.get_timestamp()))
        if wait := self._take_turns():
            _increment(self.pair, -1, seconds=FAILURE_TTL_SECONDS)
            cache.delete(until)
            return wait
        cache.touch(self.pair, FAILURE_TTL_SECONDS)
        return 0

    def _take_turns(self) -> int:
        """Use a turn of each counter and return 0, or use none and return the seconds to wait."""
        if wait := max((turns.get_wait(key, self.pair) for key, turns in self.turns), default=0):
            return wait
        used: list[str] = []
        for key, turns in self.turns:
            if not turns.use(key, self.pair):
                for used_key in used:
                    _increment(used_key, -1, seconds=turns.period)
                return turns.interval
            used.append(key)
        return 0

    def succeed(self) -> None:
        """Reset the failures of this client; those of other clients are kept."""
        self.forget()
        for key, turns in self.turns:
            _increment(key, -1, seconds=turns.period)
        _increment(f"{self.pair}:good", 1, seconds=60)
        if self.known:
            cache.set(self.known, True, timeout=KNOWN_ADDRESS_TTL_SECONDS)

    def forget(self) -> None:
        """Reset the failures and the waiting time of this client."""
        cache.delete(self.pair)
        cache.delete(f"{self.pair}:until")


def get_password_attempt(request: HttpRequest, email: str) -> Attempt:
    """Return the attempt at the password of an e-mail address, with or without an account."""
    account, device = _build_cache_key("password", email.lower()), find_known_device(request, email)
    if device is not None:
        return Attempt(pair=_build_cache_key(account, "device", device))
    address = get_ip(request)
    pair = _build_cache_key(account, "address", address)
    known = f"{pair}:known"
    turns = [(account, ACCOUNT_PASSWORD_POLICY)]
    # An account that has signed in from this address before does not wait because of others.
    if not cache.get(known):
        turns.append((_build_cache_key("passwords", "address", address), ADDRESS_PASSWORD_POLICY))
    return Attempt(pair=pair, turns=tuple(turns), known=known)


def get_code_attempt(request: HttpRequest, user: User) -> Attempt:
    """Return the attempt at the second factor of an account."""
    account, device = _build_cache_key("code", str(user.pk)), find_known_device(request, user.email)
    if device is not None:
        return Attempt(pair=_build_cache_key(account, "device", device))
    pair = _build_cache_key(account, "address", get_ip(request))
    return Attempt(pair=pair, turns=((account, ACCOUNT_CODE_POLICY),))


def start_attempt(request: HttpRequest, attempt: Attempt) -> None:
    """Begin an attempt.

    Raises:
        ValidationError: the client has to wait; `set_wait_status` then sets status 429.
    """
    if seconds := attempt.begin():
        _reject_attempt(request, seconds)


def _reject_attempt(request: HttpRequest, seconds: int) -> NoReturn:
    request.sign_in_wait = seconds  # type: ignore[attr-defined]
    message = ngettext(
        "Too many failed attempts. Try again in %(seconds)s second.",
        "Too many failed attempts. Try again in %(seconds)s seconds.",
        seconds,
    )
    raise ValidationError(message % {"seconds": seconds}, code="too_many_login_attempts")


def set_wait_status(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Set status 429 and Retry-After on the response if the attempt has to wait."""
    seconds: int | None = getattr(request, "sign_in_wait", None)
    if seconds is not None:
        response.status_code = 429
        response["Retry-After"] = str(seconds)
    return response


def find_known_device(request: HttpRequest, email: str) -> str | None:
    """Return the device id if the account signed in on it with its current password, or None."""
    cookie = request.COOKIES.get(_get_cookie_name(email))
    if cookie is None:
        return None
    try:
        payload = signing.loads(cookie, salt=DEVICE_SALT, max_age=KNOWN_DEVICE_TTL_SECONDS)
        device, fingerprint = str(payload["device"]), str(payload["fingerprint"])
    except (signing.BadSignature, TypeError, KeyError):
        return None
    user = User.objects.filter(email=email.lower()).first()
    if user is None or not constant_time_compare(fingerprint, _compute_fingerprint(user)):
        return None
    return device


def remember_device(request: HttpRequest, response: HttpResponse, user: User) -> None:
    """Set the cookie that identifies a known device, after a complete sign-in."""
    device = find_known_device(request, user.email) or secrets.token_urlsafe(12)
    payload = {"device": device, "fingerprint": _compute_fingerprint(user)}
    response.set_cookie(
        _get_cookie_name(user.email),
        signing.dumps(payload, salt=DEVICE_SALT),
        max_age=KNOWN_DEVICE_TTL_SECONDS,
        path="/accounts/",
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _compute_fingerprint(user: User) -> str:
    # Depends on the password: after a password change, no device is known any more.
    return salted_hmac(DEVICE_SALT, f"{user.pk}:{user.password}").hexdigest()[:32]


def _get_cookie_name(email: str) -> str:
    return f"device_{salted_hmac(DEVICE_SALT, email.lower()).hexdigest()[:16]}"


def _build_cache_key(*parts: str) -> str:
    return "sign-in:" + hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:40]


def _increment(key: str, number: int, *, seconds: int) -> int:
    """Increment a counter atomically and return it; a new counter expires after `seconds`."""
    cache.add(key, 0, timeout=seconds)
    try:
        return int(cache.incr(key, number))
    except ValueError:  # the counter expired between the two calls
        cache.set(key, max(number, 0), timeout=seconds)
        return max(number, 0)
