"""Assistants that programs alone use are not offered in the chat page."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("chat", "0005_senders_key")]

    operations = [
        migrations.AddField(
            model_name="assistant",
            name="in_page",
            field=models.BooleanField(
                db_default=True,
                default=True,
                help_text="Off: programs alone use it. "
                "The page cannot answer the functions of a program.",
                verbose_name="offered in the chat page",
            ),
        ),
    ]
