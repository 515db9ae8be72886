"""Django apps that an operator adds with ATRIUM_APPS, without editing the checkout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import module_has_submodule


def check_apps(names: Iterable[str], installed: Sequence[str]) -> list[str]:
    """Return the names of the apps, stripped.

    Raises:
        ImproperlyConfigured: an app cannot be imported, is named twice, or is installed already.
    """
    found: list[str] = []
    for name in (name.strip() for name in names):
        if not all(part.isidentifier() for part in name.split(".")) or not _is_importable(name):
            raise ImproperlyConfigured(
                f"ATRIUM_APPS names {name!r}, which Python cannot find. Install it, or add the "
                "folder that contains it to PYTHONPATH."
            )
        if name in found or name in installed:
            raise ImproperlyConfigured(f"ATRIUM_APPS names {name!r}, which is already installed.")
        found.append(name)
    return found


def _is_importable(name: str) -> bool:
    # Look up only the top-level package: finding a submodule would import the package here, before
    # Django is set up.
    return find_spec(name.partition(".")[0]) is not None


def import_admin_pages(names: Iterable[str]) -> None:
    """Import the `admin` module of each app that has one, which registers its pages."""
    wanted = set(names)
    for config in apps.get_app_configs():
        is_wanted = config.name in wanted or _get_path(config) in wanted
        if is_wanted and module_has_submodule(config.module, "admin"):
            import_module(f"{config.name}.admin")


def _get_path(config: object) -> str:
    kind = type(config)
    return f"{kind.__module__}.{kind.__qualname__}"
