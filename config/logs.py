"""Structured logs: one JSON line an event, with ids and without message text."""

from __future__ import annotations

import logging.config
import re
from typing import Any

import structlog

# Whoever holds one of these addresses may join a company or set a password.
_SECRET_PATH = re.compile(r"(/invitations/|/password/reset/key/)[^/\s\"']+")
# What PostgreSQL tells of a refused row is the row.
_DETAIL = re.compile(r"DETAIL:.*?(?=\n\nThe above|\n\nDuring|\Z)", re.DOTALL)


def hide_secrets(logger: Any, name: str, event: Any) -> Any:
    """Take secret addresses and rows out of a line (a structlog processor)."""
    for key in ("event", "request", "path"):
        if isinstance(event.get(key), str):
            event[key] = _SECRET_PATH.sub(r"\1…", event[key])
    if isinstance(event.get("exception"), str):
        event["exception"] = _DETAIL.sub("DETAIL: …", event["exception"])
    return event


_SHARED = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure_logging(level: str) -> None:
    """Send every logger's lines, at `level` and above, to standard error as JSON."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "json": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        structlog.processors.format_exc_info,
                        hide_secrets,
                        structlog.processors.JSONRenderer(),
                    ],
                    "foreign_pre_chain": _SHARED,
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
            "root": {"handlers": ["stderr"], "level": level},
            "loggers": {
                # SQL and model traffic hold people's text: never logged, at any level.
                "django.db.backends": {"level": "INFO"},
                "openai": {"level": "WARNING"},
                "httpx": {"level": "WARNING"},
                "procrastinate": {"level": "WARNING"},
                "uvicorn.access": {"level": "WARNING"},
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
