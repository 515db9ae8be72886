"""URLs of the company, profile, API key and invitation pages."""

from __future__ import annotations

from django.urls import path

from tenants.accounts import key_views, views

urlpatterns = [
    path("companies/", views.choose_company, name="companies"),
    path("switch/", views.switch_company, name="switch"),
    path("no-company/", views.show_no_company, name="no_company"),
    path("profile/", views.edit_profile, name="profile"),
    path("keys/", key_views.manage_keys, name="keys"),
    path("keys/<uuid:key_id>/revoke/", key_views.revoke_own_key, name="revoke_key"),
    path("invitations/<str:token>/", views.show_invitation, name="invitation"),
]
