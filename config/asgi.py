"""The ASGI application: HTTP, websockets, and the worker in the lifespan."""

from __future__ import annotations

import os
import re

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django
from channels.routing import ProtocolTypeRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

if settings.UNSAFE_KEY in (settings.SECRET_KEY, *settings.SALT_KEY):
    raise ImproperlyConfigured(
        "SECRET_KEY and FIELD_ENCRYPTION_KEYS must be set to serve. Use long random strings and "
        "keep them secret."
    )
django.setup(set_prefix=False)

from chat.runs.engine.lifespan import Lifespan  # noqa: E402  (models need the app registry)
from chat.web.consumers import ChatConsumer  # noqa: E402
from config.connections import raise_open_file_limit  # noqa: E402
from config.middleware.body_limit import BodyLimitMiddleware, SizeLimit  # noqa: E402
from config.middleware.request_id import RequestIdMiddleware  # noqa: E402
from config.middleware.single_thread_handler import SingleThreadHandler  # noqa: E402
from config.middleware.slow_body_timeout import SlowBodyTimeout  # noqa: E402
from tenants.asgi import PrincipalSocketMiddleware, SameOriginMiddleware, SocketPathMiddleware  # noqa: E402

# Each connection is an open file, and the usual limit is 1,024.
raise_open_file_limit()
limits = [
    SizeLimit(method=method, path=re.compile(path), most=most, who=who)
    for method, path, most, who in settings.BODY_LIMITS
]
application = ProtocolTypeRouter(
    {
        "http": RequestIdMiddleware(
            SlowBodyTimeout(
                BodyLimitMiddleware(SingleThreadHandler(), limits=limits),
                patience=settings.BODY_SECONDS,
            )
        ),
        "websocket": SocketPathMiddleware(
            AllowedHostsOriginValidator(
                SameOriginMiddleware(PrincipalSocketMiddleware(ChatConsumer.as_asgi()))
            ),
            path="/ws/",
        ),
        "lifespan": Lifespan(),
    }
)
