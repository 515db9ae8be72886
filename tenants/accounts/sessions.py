"""Database session store that queries only well-formed session keys."""

from __future__ import annotations

from typing import Any

from django.contrib.sessions.backends import db
from django.db.models import QuerySet

from tenants import clock
from tenants.compiled_queries import CompiledQuery


@CompiledQuery
def _live_session(*, session_key: Any, now: Any) -> QuerySet[Any]:
    sessions = db.SessionStore.get_model_class().objects
    return sessions.filter(session_key=session_key, expire_date__gt=now)


class SessionStore(db.SessionStore):
    """Django's database store that rejects malformed cookies; PostgreSQL cannot take NUL."""

    def _validate_session_key(self, key: str | None) -> bool:
        return bool(key and key.isascii() and key.isalnum() and 8 <= len(key) <= 40)

    def _get_session_from_db(self) -> Any:
        session = _live_session.first(session_key=self.session_key, now=clock.now())
        if session is None:
            self._session_key = None
        return session
