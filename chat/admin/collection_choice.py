"""Form choices of an assistant's knowledge: a collection to search, and files for code."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from chat.actions.assistants.tool_definitions import BUILT_IN_TOOLS
from chat.admin.documents import get_company_stores
from chat.admin.files import get_company_files
from chat.models import Assistant
from chat.models.resources import (
    build_code_resources,
    build_search_resources,
    get_code_file_ids,
    get_store_ids,
)
from tenants.authentication import Principal

MAX_OFFERED = 200


def fill_choices(fields: dict[str, Any], row: Assistant, principal: Principal) -> None:
    """Fill the choices of a form's fields with the company's collections and files."""
    stores = _list_choices(get_company_stores(principal), chosen=get_store_ids(row.tool_resources))
    stores.sort(key=lambda store: (not store.name, str(store).lower()))
    fields["collection"].choices = [("", _("none")), *((store.pk, str(store)) for store in stores)]
    files = _list_choices(
        get_company_files(principal), chosen=get_code_file_ids(row.tool_resources)
    )
    fields["code_files"].choices = [
        (file.pk, f"{file.filename} ({filesizeformat(file.bytes)})") for file in files
    ]


def _list_choices(rows: QuerySet[Any], *, chosen: list[str]) -> list[Any]:
    """Return the newest rows, preceded by chosen ones that are not among them."""
    newest = list(rows.order_by("-created_at", "-id")[:MAX_OFFERED])
    known = {item.pk for item in newest}
    return [*rows.filter(pk__in=[item for item in chosen if item not in known]), *newest]


def get_initial(row: Assistant) -> dict[str, Any]:
    """Return an assistant's knowledge as initial field values."""
    types = {tool["type"] for tool in row.tools}
    return {
        **{name: name in types for name in BUILT_IN_TOOLS},
        "collection": next(iter(get_store_ids(row.tool_resources)), ""),
        "code_files": get_code_file_ids(row.tool_resources),
    }


def to_action_fields(cleaned: dict[str, Any]) -> dict[str, Any]:
    """Return a form's cleaned data with the knowledge fields in the action's format."""
    fields = dict(cleaned)
    fields["built_in"] = [name for name in BUILT_IN_TOOLS if fields.pop(name)]
    collection = fields.pop("collection")
    fields["tool_resources"] = {
        **build_search_resources([collection] if collection else []),
        **build_code_resources(fields.pop("code_files")),
    }
    return fields
