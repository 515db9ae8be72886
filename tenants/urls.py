"""Addresses around signing in."""

from __future__ import annotations

from django.urls import path

from tenants import views

urlpatterns = [
    path("companies/", views.companies, name="companies"),
    path("switch/", views.switch, name="switch"),
    path("no-company/", views.no_company, name="no_company"),
    path("profile/", views.profile, name="profile"),
    path("invitations/<str:token>/", views.invitation, name="invitation"),
]
