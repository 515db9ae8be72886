"""URLs of the company, profile, API key and invitation pages."""

from __future__ import annotations

from django.urls import path

from tenants.accounts import key_views, views

urlpatterns = [
    path("companies/", views.companies, name="companies"),
    path("switch/", views.switch, name="switch"),
    path("no-company/", views.no_company, name="no_company"),
    path("profile/", views.profile, name="profile"),
    path("keys/", key_views.keys, name="keys"),
    path("keys/<uuid:key_id>/revoke/", key_views.revoke, name="revoke_key"),
    path("invitations/<str:token>/", views.invitation, name="invitation"),
]
