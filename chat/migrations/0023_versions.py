"""Assistants, collections, limits and prices have a version, as tenants' own rows have."""

from __future__ import annotations

from django.db import migrations, models

TRIGGERS = """
CREATE TRIGGER next_version BEFORE UPDATE ON public.chat_assistant FOR EACH ROW
EXECUTE FUNCTION public.atrium_next_version();
CREATE TRIGGER next_version BEFORE UPDATE ON public.chat_tenantpolicy FOR EACH ROW
EXECUTE FUNCTION public.atrium_next_version();
CREATE TRIGGER next_version BEFORE UPDATE ON public.chat_price FOR EACH ROW
EXECUTE FUNCTION public.atrium_next_version();
CREATE TRIGGER next_version BEFORE UPDATE ON public.chat_vectorstore FOR EACH ROW
EXECUTE FUNCTION public.atrium_next_version(
    'embedding', 'last_active_at', 'deleted_at', 'emptied_at', 'goes_with_threads');
"""
NO_TRIGGERS = """
DROP TRIGGER next_version ON public.chat_vectorstore;
DROP TRIGGER next_version ON public.chat_price;
DROP TRIGGER next_version ON public.chat_tenantpolicy;
DROP TRIGGER next_version ON public.chat_assistant;
"""


def version_of(model: str) -> migrations.AddField:
    """Return the operation that adds the column."""
    return migrations.AddField(
        model_name=model,
        name="version",
        field=models.IntegerField(db_default=1, default=1, editable=False),
    )


class Migration(migrations.Migration):
    dependencies = [("chat", "0022_index_claims"), ("tenants", "0008_versions")]

    operations = [
        version_of("assistant"),
        version_of("tenantpolicy"),
        version_of("price"),
        version_of("vectorstore"),
        migrations.RunSQL(TRIGGERS, NO_TRIGGERS),
    ]
