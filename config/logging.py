"""Structured logs: one JSON line per event, with ids and without message text."""

from __future__ import annotations

import logging
import logging.config
import re
import sys
import traceback
from types import TracebackType
from typing import Any

import structlog

OWN_LOGGERS = ("chat", "config", "tenants", "django_structlog")
# Anyone who knows one of these URLs can join a company or set a password.
_SECRET_PATH = re.compile(r"(/invitations/|/password/reset/key/)[^/\s\"']+")
# Query strings contain search terms.
_QUERY = re.compile(r"\?\S*")


def hide_secrets(logger: Any, name: str, event: Any) -> Any:
    """Remove secret URLs and query strings from a line (a structlog processor)."""
    for key in ("event", "request", "path"):
        if isinstance(event.get(key), str):
            event[key] = _SECRET_PATH.sub(r"\1…", event[key])
    for key in ("request", "path"):
        if isinstance(event.get(key), str):
            event[key] = _QUERY.sub("", event[key])
    return event


def describe_errors(logger: Any, name: str, event: Any) -> Any:
    """Put an error's types and locations into `exception` (a structlog processor).

    Its message is omitted: a database error quotes the row, a parser's error the text.
    """
    given = event.pop("exc_info", None)
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = "\n".join(_format_causes(error))
    event.pop("stack_info", None)
    return event


def _format_causes(error: BaseException | None) -> list[str]:
    lines: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        state = getattr(error, "sqlstate", None)
        lines.append(f"{type(error).__module__}.{type(error).__qualname__} {state or ''}".rstrip())
        lines += _format_traceback(error.__traceback__)
        error = error.__cause__ or error.__context__
    return lines


def _format_traceback(trace: TracebackType | None) -> list[str]:
    return [f"  {at.filename}:{at.lineno} {at.name}" for at in traceback.extract_tb(trace)]


def _resolve_exc_info(logger: Any, name: str, event: Any) -> Any:
    """Resolve `exc_info=True` to the current error before the line leaves its thread."""
    if event.get("exc_info") is True:
        event["exc_info"] = sys.exc_info()
    return event


_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _resolve_exc_info,
]


def configure_logging(level: str) -> None:
    """Send all loggers' output to standard error as JSON.

    `level` applies to our own loggers. Libraries stay at INFO or above: below it they log what
    passes through them, such as SQL, frames, cookies and prompts.
    """
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "json": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        describe_errors,
                        hide_secrets,
                        structlog.processors.JSONRenderer(),
                    ],
                    "foreign_pre_chain": _SHARED,
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
            "root": {"handlers": ["stderr"], "level": _clamp_level(level, logging.INFO)},
            "loggers": {
                **{name: {"level": level} for name in OWN_LOGGERS},
                **{
                    name: {"level": _clamp_level(level, least)}
                    for name, least in _MIN_LEVELS.items()
                },
                # The server's own handler would print errors with their messages.
                "uvicorn": {"handlers": [], "propagate": True},
                "uvicorn.error": {"level": _clamp_level(level, logging.INFO), "propagate": True},
                "uvicorn.access": {"handlers": [], "level": logging.WARNING, "propagate": True},
            },
        }
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


# Each request already has a line of its own; the line of a failed one includes the error.
_MIN_LEVELS = {
    "django.request": logging.CRITICAL,
    "openai": logging.WARNING,
    "httpx": logging.WARNING,
    "httpx2": logging.WARNING,
    "procrastinate": logging.WARNING,
    # Logs a traceback each second while Redis is down, which chat.runs.delivery.transport reports
    # once.
    "channels_redis": logging.CRITICAL,
}


def _clamp_level(level: str, least: int) -> int:
    return max(logging.getLevelNamesMapping().get(level, logging.INFO), least)
