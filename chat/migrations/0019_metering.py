"""Storage is metered: each change of what a store holds, and prices for it and for code."""

from __future__ import annotations

from decimal import Decimal

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

import tenants.constraints
from tenants.row_level_security import EnableRowLevelSecurity, SecurityDefinerFunction

# Documents come, are read, and go in many places, cascades among them: all of them end here.
TRIGGER = """
CREATE FUNCTION public.chat_note_storage() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $note$
DECLARE
    more bigint := 0;
    kept record;
BEGIN
    IF TG_OP <> 'DELETE' THEN kept := NEW; more := NEW.usage_bytes; END IF;
    IF TG_OP <> 'INSERT' THEN kept := OLD; more := more - OLD.usage_bytes; END IF;
    IF more <> 0 THEN
        INSERT INTO public.chat_storagechange (tenant_id, store_ref, bytes, at)
        VALUES (kept.tenant_id, kept.store_id, more, clock_timestamp());
    END IF;
    RETURN NULL;
END $note$;
CREATE TRIGGER note_storage AFTER INSERT OR DELETE OR UPDATE OF usage_bytes
ON public.chat_storefile FOR EACH ROW EXECUTE FUNCTION public.chat_note_storage();
INSERT INTO public.chat_storagechange (tenant_id, store_ref, bytes, at)
SELECT tenant_id, store_id, sum(usage_bytes), now() FROM public.chat_storefile
WHERE usage_bytes <> 0 GROUP BY tenant_id, store_id;
"""
NO_TRIGGER = """
DROP TRIGGER note_storage ON public.chat_storefile;
DROP FUNCTION public.chat_note_storage();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0018_answers_end"),
        ("tenants", "0004_external_members"),
    ]

    operations = [
        migrations.AlterField(
            model_name="price",
            name="kind",
            field=models.CharField(
                choices=[
                    ("input_tokens", "tokens read"),
                    ("output_tokens", "tokens written"),
                    ("storage", "document storage"),
                    ("code_session", "code sessions"),
                ],
                max_length=32,
                verbose_name="for",
            ),
        ),
        migrations.AlterField(
            model_name="price",
            name="model",
            field=models.CharField(
                blank=True,
                help_text="Of tokens. Else it stays empty.",
                max_length=256,
                verbose_name="model",
            ),
        ),
        migrations.AlterField(
            model_name="price",
            name="price",
            field=models.DecimalField(
                decimal_places=6,
                help_text="Tokens: for a million of them. Document storage: for a gigabyte kept for a day. Code sessions: for each that begins.",
                max_digits=20,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="price",
            ),
        ),
        migrations.AlterField(
            model_name="usage",
            name="member",
            field=models.ForeignKey(
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="tenants.membership",
            ),
        ),
        migrations.CreateModel(
            name="StorageChange",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("store_ref", models.CharField(max_length=40)),
                ("bytes", models.BigIntegerField()),
                ("at", models.DateTimeField()),
                (
                    "carried",
                    models.DecimalField(
                        db_default=Decimal(0),
                        decimal_places=6,
                        default=Decimal(0),
                        max_digits=24,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "default_manager_name": "objects",
                "indexes": [
                    models.Index(fields=["at"], name="storagechange_by_time"),
                    models.Index(
                        fields=["tenant", "store_ref", "at"], name="storagechange_of_store"
                    ),
                ],
                "constraints": [
                    tenants.constraints.TenantKey(
                        fields=("tenant", "id"), name="storagechange_tenant_key"
                    )
                ],
            },
        ),
        EnableRowLevelSecurity("storagechange", door_columns=("tenant_id", "store_ref", "at")),
        migrations.RunSQL(TRIGGER, NO_TRIGGER),
        # Stores that changed before a midnight, and were not written down up to it.
        SecurityDefinerFunction(
            "storage_to_meter(before timestamptz, most integer)",
            returns="TABLE (store_id varchar, tenant_id uuid)",
            body="SELECT DISTINCT c.store_ref, c.tenant_id FROM chat_storagechange c "
            "WHERE c.at < before LIMIT most",
        ),
    ]
