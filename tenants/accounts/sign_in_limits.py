"""Rate limits of sign-in: they slow guesses down and never close an account to its owner.

Wrong passwords and codes count by account and place, so a stranger's failures are no concern of
the owner elsewhere. A place is a device on which the account signed in before, known by a signed
cookie, or else the address of the request. Where many unknown places guess at one account, or
one address guesses at many, unknown places take turns; a known device takes none, and an account
that signed in from the address before takes none for what others do there.

Every refusal names the seconds to wait and costs no thread. All counters are in the cache.
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

FAILURES_SECONDS = 3600  # failures of a place are forgotten so long after the last one
TURN_SECONDS = 1800  # for so long a place may use its turn
KNOWN_ADDRESS_SECONDS = 30 * 86_400
DEVICE_SECONDS = 180 * 86_400
DEVICE_SALT = "tenants.device"


@dataclass(frozen=True, kw_only=True)
class TurnPolicy:
    """When unknown places begin to take turns, and how: one try each `interval` seconds.

    A place keeps its turn until it uses it, and waits `max_wait` seconds at most. Where more
    are waiting, `shares_last` decides: they share the last turn, so that nobody is shut out by
    a crowd, or they get none yet, so that there is never more than one try in an interval.
    """

    setting: str
    period: int
    interval: int
    max_wait: int
    shares_last: bool = True

    @property
    def free_failures(self) -> int:
        """Return how many failures in a period cost nobody a turn."""
        return int(getattr(settings, self.setting))

    def get_wait(self, key: str, place: str) -> int:
        """Return the seconds until a place may try, giving it a turn where it needs one."""
        if cache.get(key, 0) < self.free_failures:
            return 0
        now, turn = clock.now_seconds(), f"{key}:{place}"
        due: float | None = cache.get(turn)
        if due is None:
            number = self._next(key, now)
            if number is None:
                return self.max_wait
            due = min(number * self.interval, now + self.max_wait)
            cache.set(turn, due, timeout=self.max_wait + TURN_SECONDS)
        return max(0, math.ceil(due - now))

    def use(self, key: str, place: str) -> bool:
        """Count a try, as a failure for now; False where its turn was used by another request."""
        if cache.get(key, 0) >= self.free_failures and not cache.delete(f"{key}:{place}"):
            return False
        _add(key, 1, seconds=self.period)
        return True

    def _next(self, key: str, now: float) -> int | None:
        """Return the number of the next free interval since the epoch, None where none is."""
        first, last = int(now / self.interval) + 1, int((now + self.max_wait) / self.interval)
        number = _add(f"{key}:turns", 1, seconds=2 * self.max_wait)
        if first <= number <= last:
            return number
        cache.set(f"{key}:turns", first if number < first else last, timeout=2 * self.max_wait)
        if number < first:
            return first
        return last if self.shares_last else None


PASSWORDS_OF_ACCOUNT = TurnPolicy(
    setting="SIGN_IN_FAILURES_OF_ACCOUNT", period=3600, interval=10, max_wait=300
)
# An address that tries many accounts waits for each of them, longer with each, up to an hour.
PASSWORDS_FROM_ADDRESS = TurnPolicy(
    setting="SIGN_IN_FAILURES_FROM_ADDRESS",
    period=3600,
    interval=1,
    max_wait=3600,
    shares_last=False,
)
# Who gets here knows the password, and a code has six digits.
CODES_OF_ACCOUNT = TurnPolicy(
    setting="SIGN_IN_FAILURES_OF_CODES", period=3600, interval=60, max_wait=900
)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try at a password or a code, from one place.

    `turns` has the counters for unknown places; a known device has none. With `known` a success
    is remembered under that key.
    """

    pair: str
    turns: tuple[tuple[str, TurnPolicy], ...] = ()
    known: str = ""

    def begin(self) -> int:
        """Count the try and return 0, or the seconds to wait; it is a failure until `succeed`."""
        if cache.get(f"{self.pair}:good", 0) >= settings.SIGN_INS_PER_MINUTE:
            return 60
        tries, until = _add(self.pair, 1, seconds=FAILURES_SECONDS), f"{self.pair}:until"
        free = settings.SIGN_IN_FREE_TRIES
        if tries > free:
            wait = min(2 ** min(tries - free, 16), settings.SIGN_IN_MAX_WAIT_SECONDS)
            # Of several requests at once one is let through, and the others wait.
            if not cache.add(until, clock.now_seconds() + wait, timeout=wait):
                _add(self.pair, -1, seconds=FAILURES_SECONDS)
                return max(1, math.ceil(float(cache.get(until, 0)) - clock.now_seconds()))
        if wait := self._take_turns():
            _add(self.pair, -1, seconds=FAILURES_SECONDS)
            cache.delete(until)
            return wait
        cache.touch(self.pair, FAILURES_SECONDS)
        return 0

    def _take_turns(self) -> int:
        """Use a turn at each counter and return 0, or use none and return the seconds to wait."""
        if wait := max((turns.get_wait(key, self.pair) for key, turns in self.turns), default=0):
            return wait
        used: list[str] = []
        for key, turns in self.turns:
            if not turns.use(key, self.pair):
                for used_key in used:
                    _add(used_key, -1, seconds=turns.period)
                return turns.interval
            used.append(key)
        return 0

    def succeed(self) -> None:
        """Forget the failures of this place; those of others stay."""
        self.forget()
        for key, turns in self.turns:
            _add(key, -1, seconds=turns.period)
        _add(f"{self.pair}:good", 1, seconds=60)
        if self.known:
            cache.set(self.known, True, timeout=KNOWN_ADDRESS_SECONDS)

    def forget(self) -> None:
        """Let this place begin anew."""
        cache.delete(self.pair)
        cache.delete(f"{self.pair}:until")


def get_password_attempt(request: HttpRequest, email: str) -> Attempt:
    """Return the try at the password of an address, whether or not it has an account."""
    account, device = _hash("password", email.lower()), find_known_device(request, email)
    if device is not None:
        return Attempt(pair=_hash(account, "device", device))
    address = get_ip(request)
    pair = _hash(account, "address", address)
    known = f"{pair}:known"
    turns = [(account, PASSWORDS_OF_ACCOUNT)]
    # Who signed in from here before does not wait for what others do at the same address.
    if not cache.get(known):
        turns.append((_hash("passwords", "address", address), PASSWORDS_FROM_ADDRESS))
    return Attempt(pair=pair, turns=tuple(turns), known=known)


def get_code_attempt(request: HttpRequest, user: User) -> Attempt:
    """Return the try at the second factor of an account."""
    account, device = _hash("code", str(user.pk)), find_known_device(request, user.email)
    if device is not None:
        return Attempt(pair=_hash(account, "device", device))
    place = _hash(account, "address", get_ip(request))
    return Attempt(pair=place, turns=((account, CODES_OF_ACCOUNT),))


def start_attempt(request: HttpRequest, attempt: Attempt) -> None:
    """Begin a try.

    Raises:
        ValidationError: where it has to wait; `set_wait_status` then answers 429.
    """
    if seconds := attempt.begin():
        _refuse(request, seconds)


def _refuse(request: HttpRequest, seconds: int) -> NoReturn:
    request.sign_in_wait = seconds  # type: ignore[attr-defined]
    message = ngettext(
        "Too many failed tries. Try again in %(seconds)s second.",
        "Too many failed tries. Try again in %(seconds)s seconds.",
        seconds,
    )
    raise ValidationError(message % {"seconds": seconds}, code="too_many_login_attempts")


def set_wait_status(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Turn the answer to a try that has to wait into a 429 that says for how long."""
    seconds: int | None = getattr(request, "sign_in_wait", None)
    if seconds is not None:
        response.status_code = 429
        response["Retry-After"] = str(seconds)
    return response


def find_known_device(request: HttpRequest, email: str) -> str | None:
    """Return the id of the device, where this account has signed in on it with this password."""
    cookie = request.COOKIES.get(_get_cookie_name(email))
    if cookie is None:
        return None
    try:
        kept = signing.loads(cookie, salt=DEVICE_SALT, max_age=DEVICE_SECONDS)
        device, fingerprint = str(kept["device"]), str(kept["fingerprint"])
    except (signing.BadSignature, TypeError, KeyError):
        return None
    user = User.objects.filter(email=email.lower()).first()
    if user is None or not constant_time_compare(fingerprint, _compute_fingerprint(user)):
        return None
    return device


def remember_device(request: HttpRequest, response: HttpResponse, user: User) -> None:
    """Set the cookie by which the device is known, after a sign-in that was complete."""
    device = find_known_device(request, user.email) or secrets.token_urlsafe(12)
    kept = {"device": device, "fingerprint": _compute_fingerprint(user)}
    response.set_cookie(
        _get_cookie_name(user.email),
        signing.dumps(kept, salt=DEVICE_SALT),
        max_age=DEVICE_SECONDS,
        path="/accounts/",
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _compute_fingerprint(user: User) -> str:
    # Of the account and its password: after a new one a device has to become known again.
    return salted_hmac(DEVICE_SALT, f"{user.pk}:{user.password}").hexdigest()[:32]


def _get_cookie_name(email: str) -> str:
    return f"device_{salted_hmac(DEVICE_SALT, email.lower()).hexdigest()[:16]}"


def _hash(*parts: str) -> str:
    return "sign-in:" + hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:40]


def _add(key: str, number: int, *, seconds: int) -> int:
    """Add to a counter in one step and return it; a new one lasts `seconds`."""
    cache.add(key, 0, timeout=seconds)
    try:
        return int(cache.incr(key, number))
    except ValueError:  # it ended between the two calls
        cache.set(key, max(number, 0), timeout=seconds)
        return max(number, 0)
