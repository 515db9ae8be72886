"""URL configuration: page, admin, sign-in, API. config.health answers health checks earlier."""

from __future__ import annotations

from django.conf import settings
from django.urls import include, path

from chat.admin import site
from config.extension_apps import import_admin_pages

import_admin_pages(settings.EXTENSION_APPS)

urlpatterns = [
    path("admin/", site.urls),
    path("accounts/", include("tenants.accounts.account_urls")),
    path("v1/", include("chat.api.urls")),
    path("", include("tenants.accounts.urls")),
    path("", include("chat.web.urls")),
]

handler400 = "tenants.error_pages.bad_request"
handler403 = "tenants.error_pages.permission_denied"
handler404 = "tenants.error_pages.page_not_found"
handler429 = "tenants.error_pages.too_many_requests"
handler500 = "tenants.error_pages.server_error"
