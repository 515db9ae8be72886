"""Django settings from environment variables. The only settings module."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _
from environs import Env, EnvError

from config.backends.mail import parse_email_url
from config.backends.storages import build_file_storage
from config.extension_apps import check_apps
from config.http_settings import DIRECTIVES, SPECTACULAR
from config.logging import configure_logging

BASE_DIR = Path(__file__).resolve().parent.parent
env = Env()


def read(kind: str, name: str, default: Any, *, least: float | None = None) -> Any:
    """Read one variable; `least` is the minimum of a number.

    Raises:
        ImproperlyConfigured: the value is invalid; the message names the variable.
    """
    try:
        value = getattr(env, kind)(name, default)
    except (EnvError, ValueError) as error:
        raise ImproperlyConfigured(f"{name} is invalid: {error}") from None
    if least is not None and value < least:
        raise ImproperlyConfigured(f"{name} must be at least {least}.")
    return value


DEBUG = read("bool", "DEBUG", False)
LOG_LEVEL = read("str", "LOG_LEVEL", "INFO").upper()
DATA_DIR = Path(read("str", "ATRIUM_DATA_DIR", str(BASE_DIR / ".data"))).expanduser()
# Only for commands that serve no requests; config.asgi refuses it.
UNSAFE_KEY = "unsafe-only-for-commands-that-serve-nobody"
SECRET_KEY = read("str", "SECRET_KEY", "") or UNSAFE_KEY
FIELD_ENCRYPTION_KEYS = read("list", "FIELD_ENCRYPTION_KEYS", [])
SALT_KEY = FIELD_ENCRYPTION_KEYS or [UNSAFE_KEY]

PUBLIC_URL = read("str", "PUBLIC_URL", "").rstrip("/")
_public = urlsplit(PUBLIC_URL)
if PUBLIC_URL and (_public.scheme not in ("http", "https") or not _public.hostname):
    raise ImproperlyConfigured("PUBLIC_URL must look like https://chat.example.com.")
ALLOWED_HOSTS = read("list", "ALLOWED_HOSTS", []) or ["localhost", "127.0.0.1", "[::1]"]
if _public.hostname and _public.hostname not in ALLOWED_HOSTS:
    ALLOWED_HOSTS.append(_public.hostname)
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PUBLIC_URL else []
TRUSTED_PROXIES = read("list", "TRUSTED_PROXIES", [])
REDIS_URL = read("str", "REDIS_URL", "")

# Limits on the connections of one server process and their header sections (config.connections).
CONNECTIONS = read("int", "ATRIUM_CONNECTIONS", 2_000, least=1)
CONNECTIONS_PER_ADDRESS = read("int", "ATRIUM_CONNECTIONS_PER_ADDRESS", 100, least=1)
HEADER_BYTES = read("int", "ATRIUM_HEADER_BYTES", 65_536, least=1024)
HEADER_SECONDS = read("float", "ATRIUM_HEADER_SECONDS", 10, least=0.1)

INSTALLED_APPS = [
    "config.local",
    "tenants",
    "chat",
    "chat.web",
    "chat.demo",
    "rest_framework",
    "drf_spectacular",
    "unfold",
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "csp",
    "django_structlog",
    "procrastinate.contrib.django",
]
# The operator's own tools, admin pages and tables, from outside the checkout.
EXTENSION_APPS = check_apps(read("list", "ATRIUM_APPS", []), INSTALLED_APPS)
INSTALLED_APPS += EXTENSION_APPS

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "config.health.HealthMiddleware",
    "config.backends.storages.StaticFiles",
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "tenants.accounts.session_activity.SessionActivityMiddleware",
    "tenants.outages.RequestLogMiddleware",
    "tenants.middleware.PrincipalMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "tenants.middleware.provide_principal",
                "chat.web.context.get_theme",
            ],
        },
    }
]

# DATABASE_URL is the application's role; the owner's role is used for migrations only.
COMPILED_QUERIES = read("bool", "ATRIUM_COMPILED_QUERIES", True)
DATABASE_THREADS = read("int", "ATRIUM_DATABASE_THREADS", 4, least=1)
DATABASE_REQUESTS = read("int", "ATRIUM_DATABASE_REQUESTS", 12, least=1)
DATABASE_REQUESTS_PER_COMPANY = read("int", "ATRIUM_DATABASE_REQUESTS_PER_COMPANY", 4, least=1)

# The locks of a process that froze, or whose machine is gone, must not block others.
_LEFT_OPEN = read("float", "ATRIUM_TRANSACTION_IDLE_SECONDS", 10, least=0.5)
# A statement that waits longer for a row lock fails, and the client is asked to retry: a few
# waiting statements would block a process.
_LOCK = read("float", "ATRIUM_LOCK_SECONDS", 5, least=0.05)
CONNECTION: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "options": f"-c idle_in_transaction_session_timeout={round(_LEFT_OPEN * 1000)} "
    f"-c lock_timeout={round(_LOCK * 1000)}",
}


def build_database(variable: str, *, pool: bool) -> dict[str, Any]:
    """Return Django's settings for the PostgreSQL URL in `variable`.

    Raises:
        ImproperlyConfigured: the URL is invalid or not PostgreSQL's.
    """
    try:
        parsed: dict[str, Any] = dict(dj_database_url.parse(read("str", variable, "")))
    except ValueError:
        raise ImproperlyConfigured(f"{variable} is not a valid database URL.") from None
    if parsed.get("ENGINE") != "django.db.backends.postgresql":
        raise ImproperlyConfigured(f"{variable} must begin with postgresql://.")
    if pool:
        # A thread pool for work and one for tools, two threads for files, one for heartbeats, one
        # for autosaves, one that records failed sign-ins.
        size = 2 * DATABASE_THREADS + 5 + DATABASE_REQUESTS
        # The connection pool backs off after each failure; with a timeout of 1 s the next request,
        # every second or two, starts again.
        wait = read("float", "ATRIUM_DATABASE_WAIT_SECONDS", 5, least=0.1)
        patience = {"timeout": wait, "reconnect_timeout": 1}
        options = {"min_size": 1, "max_size": size, "max_idle": 60, **patience}
        parsed["OPTIONS"] = {**CONNECTION, **parsed.get("OPTIONS", {}), "pool": options}
    return parsed


DATABASES: dict[str, Any] = {}
if read("str", "DATABASE_URL", ""):
    DATABASES["default"] = build_database("DATABASE_URL", pool=True)
else:
    # `up`, `db` and the tests fill this in; anything else fails with a clear message.
    DATABASES["default"] = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "atrium",
        "OPTIONS": {},
    }
if read("str", "MIGRATION_DATABASE_URL", ""):
    DATABASES["owner"] = build_database("MIGRATION_DATABASE_URL", pool=False)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Admin changes go to the tenant's audit log; Django's log table is never created.
MIGRATION_MODULES = {"admin": None}

if REDIS_URL:
    from config.backends.redis_backends import build_channel_layer

    # Not "default": every websocket would join that layer and need Redis to open.
    CHANNEL_LAYERS = {"processes": build_channel_layer(REDIS_URL, SECRET_KEY)}
    CACHES: dict[str, Any] = {
        "default": {"BACKEND": "config.backends.redis_backends.SharedCache", "LOCATION": REDIS_URL}
    }
else:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            # The oldest entries are evicted when it is full: a flood must take longer than the
            # delays of sign-in.
            "OPTIONS": {"MAX_ENTRIES": 200_000},
        }
    }

PROCRASTINATE_WORKER_DEFAULTS = {"concurrency": read("int", "ATRIUM_WORKER_JOBS", 50, least=1)}

# Usable keys of each person or app.
KEYS_PER_MEMBER = read("int", "ATRIUM_KEYS_PER_MEMBER", 50, least=1)
# Users of a company's apps: those created in an hour, and all of them.
EXTERNAL_USERS_PER_HOUR = read("int", "ATRIUM_EXTERNAL_USERS_PER_HOUR", 5_000, least=1)
EXTERNAL_USERS = read("int", "ATRIUM_EXTERNAL_USERS", 200_000, least=1)

RECENT_SIGN_IN_SECONDS = read("int", "ATRIUM_RECENT_SIGN_IN_SECONDS", 900, least=1)
# Per member and hour, in the company's audit log.
FAILED_SIGN_INS_RECORDED = read("int", "ATRIUM_FAILED_SIGN_INS_RECORDED", 20, least=1)

# Sign-in; tenants.accounts.sign_in_limits explains the limits.
SIGN_IN_FREE_TRIES = read("int", "ATRIUM_SIGN_IN_FREE_TRIES", 5, least=1)
SIGN_IN_MAX_WAIT_SECONDS = read("int", "ATRIUM_SIGN_IN_MAX_WAIT_SECONDS", 300, least=1)
SIGN_INS_PER_MINUTE = read("int", "ATRIUM_SIGN_INS_PER_MINUTE", 30, least=1)
SIGN_IN_FAILURES_OF_ACCOUNT = read("int", "ATRIUM_SIGN_IN_FAILURES_OF_ACCOUNT", 50, least=1)
SIGN_IN_FAILURES_OF_CODES = read("int", "ATRIUM_SIGN_IN_FAILURES_OF_CODES", 20, least=1)
SIGN_IN_FAILURES_FROM_ADDRESS = read("int", "ATRIUM_SIGN_IN_FAILURES_FROM_ADDRESS", 100, least=1)
AUTH_USER_MODEL = "tenants.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
_RULES = ("UserAttributeSimilarity", "MinimumLength", "CommonPassword", "NumericPassword")
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{rule}Validator"} for rule in _RULES
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
# Returns the address at which `up` serves: without PUBLIC_URL, commands build links with it.
SERVED_ADDRESS = "config.local.environment.read_served_address"
ACCOUNT_ADAPTER = "tenants.accounts.adapter.ClosedAccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""  # allauth's default contains the Host header
ACCOUNT_USER_DISPLAY = "tenants.accounts.adapter.get_display_name"
# The settings above limit attempts at passwords and codes. A link contains an unguessable secret:
# its use is limited per link, or loosely, since an office shares an IP address.
ACCOUNT_RATE_LIMITS = {
    "login": "",
    "login_failed": "",
    "signup": "20/m/key",
    "reset_password_from_key": "200/m/ip",
}
ACCOUNT_FORMS = {
    "login": "tenants.accounts.forms.SignInForm",
    "reset_password": "tenants.accounts.forms.ResetForm",
    "reset_password_from_key": "tenants.accounts.forms.NewPasswordForm",
    "change_password": "tenants.accounts.forms.ChangePasswordForm",
    "reauthenticate": "tenants.accounts.forms.ConfirmForm",
}
MFA_ADAPTER = "tenants.mfa.EncryptedMfaAdapter"
MFA_FORMS = {
    "authenticate": "tenants.accounts.forms.CodeForm",
    "reauthenticate": "tenants.accounts.forms.ConfirmCodeForm",
    "activate_totp": "tenants.accounts.forms.ActivateForm",
}
MFA_TOTP_ISSUER = "Atrium"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
USERSESSIONS_TRACK_ACTIVITY = True
SESSION_ENGINE = "tenants.accounts.sessions"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _public.scheme == "https"

EMAIL_URL = read("str", "EMAIL_URL", "")
try:
    globals().update(parse_email_url(EMAIL_URL))
except ValueError as error:
    raise ImproperlyConfigured(f"EMAIL_URL is invalid: {error}") from None
if EMAIL_URL and not PUBLIC_URL:
    raise ImproperlyConfigured("EMAIL_URL requires PUBLIC_URL for the links in e-mails.")
DEFAULT_FROM_EMAIL = read("str", "DEFAULT_FROM_EMAIL", "atrium@localhost")

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
SECURE_SSL_REDIRECT = False
SECURE_HSTS_SECONDS = 31_536_000 if _public.scheme == "https" else 0
# The proxy redirects to TLS; whether subdomains follow is up to the domain's owner.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W008", "security.W021"]
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "tenants.error_pages.csrf_failure"
CONTENT_SECURITY_POLICY = {"DIRECTIVES": DIRECTIVES}
FILE_UPLOAD_MAX_MEMORY_SIZE = 1_048_576
FILE_UPLOAD_HANDLERS = [
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "config.backends.uploads.NamelessFileUploadHandler",
]
BODY_LIMIT = read("int", "ATRIUM_BODY_BYTES", 1_048_576, least=1024)
# After this the body must arrive at the minimum rate at least
# (config.middleware.slow_body_timeout).
BODY_SECONDS = read("float", "ATRIUM_BODY_SECONDS", 60, least=0.1)
# API clients send whole threads, and every character as \uXXXX.
API_BODY_LIMIT = read("int", "ATRIUM_API_BODY_BYTES", 8_388_608, least=1024)
FILE_BYTES = read("int", "ATRIUM_FILE_BYTES", 536_870_912, least=1024)
PART_BYTES = 67_108_864
_FORM_BYTES = 65_536  # overhead around a file
# Method, path, bytes, and the kind of caller ("" is any), checked before the body is read.
BODY_LIMITS = (
    ("POST", r"/v1/files\Z", FILE_BYTES + _FORM_BYTES, "key"),
    ("POST", r"/v1/uploads/[^/]{1,100}/parts\Z", PART_BYTES + _FORM_BYTES, "key"),
    (
        "POST",
        r"/admin/chat/(vectorstore/[^/]+/upload|file/add)/\Z",
        FILE_BYTES + _FORM_BYTES,
        "admin",
    ),
    ("POST", r"/page/files\Z", FILE_BYTES + _FORM_BYTES, "person"),
    ("", "/v1/", API_BODY_LIMIT, ""),
    ("", "", BODY_LIMIT, ""),
)
# Excludes files, which are never held in memory.
DATA_UPLOAD_MAX_MEMORY_SIZE = max(API_BODY_LIMIT, BODY_LIMIT)
FILE_UPLOAD_PERMISSIONS, FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o600, 0o700

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English"))]
TIME_ZONE = "UTC"
USE_I18N = USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = Path(read("str", "ATRIUM_STATIC_DIR", str(DATA_DIR / "static")))
STORAGES = {
    "default": build_file_storage(
        bucket=read("str", "ATRIUM_S3_BUCKET", ""),
        endpoint=read("str", "ATRIUM_S3_ENDPOINT", ""),
        region=read("str", "ATRIUM_S3_REGION", ""),
        access_key=read("str", "ATRIUM_S3_ACCESS_KEY", ""),
        secret_key=read("str", "ATRIUM_S3_SECRET_KEY", ""),
    ),
    "staticfiles": {"BACKEND": "chat.web.assets.ModuleStorage"},
}
MEDIA_ROOT = DATA_DIR / "files"

LOGGING_CONFIG = None
configure_logging(LOG_LEVEL)
DJANGO_STRUCTLOG_USER_ID_FIELD = "pk"
# One line per request. No address: clients can put any value into X-Forwarded-For.
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = logging.DEBUG
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False
# The id comes from config.middleware.request_id, which drops ids sent by clients.
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True

# The middleware authenticates API requests, by key only.
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "chat.api.openapi.schema.ViewSchema",
}
SPECTACULAR_SETTINGS = SPECTACULAR

UNFOLD = {"SITE_TITLE": "Atrium", "SITE_HEADER": "Atrium", "SHOW_HISTORY": False}

_openai_configured = bool(read("str", "OPENAI_API_KEY", "") or read("str", "OPENAI_BASE_URL", ""))
# A model on this machine may take minutes to read a prompt.
_upstream_host = urlsplit(read("str", "OPENAI_BASE_URL", "")).hostname or ""
_upstream_is_local = _upstream_host in ("localhost", "::1") or _upstream_host.startswith("127.")
_UPSTREAM_TIMES = {
    "connect_timeout": read("float", "ATRIUM_UPSTREAM_CONNECT_SECONDS", 5, least=0.01),
    "first_byte_timeout": read(
        "float",
        "ATRIUM_UPSTREAM_FIRST_BYTE_SECONDS",
        300 if _upstream_is_local else 60,
        least=0.01,
    ),
    "idle_timeout": read("float", "ATRIUM_UPSTREAM_IDLE_SECONDS", 45, least=0.01),
}
# Model servers by name, structured like CACHES; each assistant names one.
UPSTREAMS: dict[str, dict[str, Any]] = {
    "demo": {
        "BACKEND": "chat.upstream.scripted.ScriptedUpstream",
        "MODEL": "demo-scripted",
        "OPTIONS": {"tokens_per_second": read("float", "ATRIUM_DEMO_TOKENS_PER_SECOND", 40.0)},
    }
}
if _openai_configured:
    _wire = read("str", "ATRIUM_UPSTREAM_API", "responses")
    if _wire not in ("responses", "chat_completions"):
        raise ImproperlyConfigured("ATRIUM_UPSTREAM_API must be responses or chat_completions.")
    UPSTREAMS["default"] = {
        "BACKEND": {
            "responses": "chat.upstream.responses.ResponsesUpstream",
            "chat_completions": "chat.upstream.chat_completions.ChatCompletionsUpstream",
        }[_wire],
        "MODEL": read("str", "ATRIUM_MODEL", "gpt-4.1-mini"),
        "MODELS": read("list", "ATRIUM_MODELS", []),
        "OPTIONS": {
            "base_url": read("str", "OPENAI_BASE_URL", "") or None,
            "api_key": read("str", "OPENAI_API_KEY", "") or "none",
            "rescue_tool_calls": read("bool", "ATRIUM_RESCUE_TOOL_CALLS", False),
            **_UPSTREAM_TIMES,
        },
        "CONVERSATIONS": read("bool", "ATRIUM_UPSTREAM_CONVERSATIONS", False),
    }

# Semantic search: a model server's embeddings if a model is named, else the local extra if it is
# installed; without either, full-text search.
EMBEDDER: dict[str, Any] | None = None
if read("str", "ATRIUM_EMBEDDING_MODEL", ""):
    EMBEDDER = {
        "BACKEND": "chat.upstream.embeddings.UpstreamEmbedder",
        "OPTIONS": {
            "model": read("str", "ATRIUM_EMBEDDING_MODEL", ""),
            "base_url": read("str", "OPENAI_BASE_URL", "") or None,
            "api_key": read("str", "OPENAI_API_KEY", "") or "none",
            **_UPSTREAM_TIMES,
        },
    }

CODE_SANDBOX = read("str", "ATRIUM_CODE_SANDBOX", "auto")
if CODE_SANDBOX not in ("auto", "monty", "bubblewrap"):
    raise ImproperlyConfigured("ATRIUM_CODE_SANDBOX must be auto, monty or bubblewrap.")

CHAT = {
    "UPSTREAMS": UPSTREAMS,
    "DEFAULT_UPSTREAM": "default" if _openai_configured else "demo",
    "RUN_SECONDS": read("float", "ATRIUM_RUN_SECONDS", 600, least=1),
    "APPROVAL_SECONDS": read("float", "ATRIUM_APPROVAL_SECONDS", 86_400, least=1),
    "MAX_ROUNDS": read("int", "ATRIUM_MAX_ROUNDS", 10, least=1),
    "MAX_TOOL_CALLS": read("int", "ATRIUM_MAX_TOOL_CALLS", 25, least=1),
    "MAX_SAME_CALLS": read("int", "ATRIUM_MAX_SAME_CALLS", 3, least=2),
    "TOOL_SECONDS": read("float", "ATRIUM_TOOL_SECONDS", 30, least=0.1),
    "TOOL_OUTPUT_BYTES": read("int", "ATRIUM_TOOL_OUTPUT_BYTES", 65_536, least=256),
    "TOOL_ARGUMENT_BYTES": read("int", "ATRIUM_TOOL_ARGUMENT_BYTES", 65_536, least=256),
    "PARALLEL_TOOLS": read("int", "ATRIUM_PARALLEL_TOOLS", 4, least=1),
    "PROMPT_TOKENS": read("int", "ATRIUM_PROMPT_TOKENS", 24_000, least=256),
    "MESSAGE_CHARACTERS": read("int", "ATRIUM_MESSAGE_CHARACTERS", 256_000, least=1),
    "INSTRUCTION_CHARACTERS": 256_000,
    # Images that the model server fetches by URL: whether they are allowed, and hosts in addition
    # to those of the public internet.
    "IMAGE_URLS": read("bool", "ATRIUM_IMAGE_URLS", True),
    "IMAGE_HOSTS": read("list", "ATRIUM_IMAGE_HOSTS", []),
    "MESSAGES_PER_THREAD": read("int", "ATRIUM_MESSAGES_PER_THREAD", 100_000, least=2),
    "QUEUED_MESSAGES": read("int", "ATRIUM_QUEUED_MESSAGES", 100, least=1),
    "COPIED_MESSAGES": read("int", "ATRIUM_COPIED_MESSAGES", 10_000, least=1),
    "SEVERAL_PROCESSES": bool(REDIS_URL),
    "MAX_RUNS": read("int", "ATRIUM_MAX_RUNS", 250, least=1),
    "RUNS_PER_MEMBER": read("int", "ATRIUM_RUNS_PER_MEMBER", 100, least=1),
    "RUNS_PER_TENANT": read("int", "ATRIUM_RUNS_PER_TENANT", 2_000, least=1),
    "HEARTBEAT_SECONDS": read("float", "ATRIUM_HEARTBEAT_SECONDS", 5, least=0.1),
    "LAPSE_SECONDS": read("float", "ATRIUM_LAPSE_SECONDS", 15, least=0.3),
    "WATCH_SECONDS": read("float", "ATRIUM_WATCH_SECONDS", 2, least=0.05),
    "PARTIAL_SECONDS": read("float", "ATRIUM_PARTIAL_SECONDS", 1, least=0.05),
    "DRAIN_SECONDS": read("float", "ATRIUM_DRAIN_SECONDS", 10, least=0),
    "MAX_TAKEOVERS": read("int", "ATRIUM_MAX_TAKEOVERS", 3, least=1),
    "UPSTREAM_TRIES": read("int", "ATRIUM_UPSTREAM_TRIES", 5, least=1),
    "UPSTREAM_BREAKER_FAILURES": read("int", "ATRIUM_UPSTREAM_BREAKER_FAILURES", 3, least=2),
    "UPSTREAM_BACKOFF_SECONDS": read("float", "ATRIUM_UPSTREAM_BACKOFF_SECONDS", 0.5, least=0),
    "API_REQUESTS_PER_MINUTE": read("int", "ATRIUM_API_REQUESTS_PER_MINUTE", 6000, least=1),
    "API_REQUESTS_PER_MINUTE_PER_TENANT": read(
        "int", "ATRIUM_API_REQUESTS_PER_MINUTE_PER_TENANT", 30_000, least=1
    ),
    "RUNS_PER_MINUTE": read("int", "ATRIUM_RUNS_PER_MINUTE", 300, least=1),
    "RUNS_PER_MINUTE_PER_TENANT": read("int", "ATRIUM_RUNS_PER_MINUTE_PER_TENANT", 3_000, least=1),
    "PAGE_REQUESTS_PER_MINUTE": read("int", "ATRIUM_PAGE_REQUESTS_PER_MINUTE", 1_200, least=1),
    "FRAMES_PER_SECOND": read("int", "ATRIUM_FRAMES_PER_SECOND", 50, least=1),
    "SOCKETS_PER_USER": read("int", "ATRIUM_SOCKETS_PER_USER", 20, least=1),
    "FRAME_BYTES": read("int", "ATRIUM_FRAME_BYTES", 65_536, least=1024),
    "SLOW_SECONDS": read("float", "ATRIUM_SLOW_SECONDS", 30, least=0.1),
    "UNDO_SECONDS": read("float", "ATRIUM_UNDO_SECONDS", 300, least=1),
    "KEEP_ALIVE_SECONDS": read("float", "ATRIUM_KEEP_ALIVE_SECONDS", 15, least=0.05),
    "API_STREAMS_PER_KEY": read("int", "ATRIUM_API_STREAMS_PER_KEY", 100, least=1),
    "API_STREAMS_PER_MEMBER": read("int", "ATRIUM_API_STREAMS_PER_MEMBER", 500, least=1),
    "FILE_BYTES": FILE_BYTES,
    "PART_BYTES": PART_BYTES,
    "STORAGE_BYTES": read("int", "ATRIUM_STORAGE_BYTES", 10_737_418_240, least=1024),
    "EMBEDDER": EMBEDDER,
    "FILE_WAIT_SECONDS": read("float", "ATRIUM_FILE_WAIT_SECONDS", 20, least=0),
    "INDEX_SECONDS": read("float", "ATRIUM_INDEX_SECONDS", 120, least=1),
    "INDEX_MEMORY_MIB": read("int", "ATRIUM_INDEX_MEMORY_MIB", 2048, least=256),
    "INDEX_LAPSE_SECONDS": read("float", "ATRIUM_INDEX_LAPSE_SECONDS", 300, least=1),
    "INDEX_SLOTS": read("int", "ATRIUM_INDEX_SLOTS", 4, least=1),
    "INDEX_SLOTS_PER_COMPANY": read("int", "ATRIUM_INDEX_SLOTS_PER_COMPANY", 2, least=1),
    "INDEX_TRIES": read("int", "ATRIUM_INDEX_TRIES", 3, least=1),
    "CODE_SANDBOX": CODE_SANDBOX,
    "CODE_ENVIRONMENT": DATA_DIR / "sandbox",
    # A call has 120 seconds in total: its session may have to be opened, and is saved at the end.
    "CODE_SECONDS": min(read("float", "ATRIUM_CODE_SECONDS", 30, least=1), 60.0),
    "CODE_MEMORY_MIB": read("int", "ATRIUM_CODE_MEMORY_MIB", 256, least=64),
    "CODE_SESSIONS": read("int", "ATRIUM_CODE_SESSIONS", 8, least=1),
    "CODE_SESSION_SECONDS": read("float", "ATRIUM_CODE_SESSION_SECONDS", 3600, least=1),
}
