"""What a tool told of a call besides its output."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models
from django.db.migrations.operations.base import Operation


class Migration(migrations.Migration):
    dependencies: ClassVar = [("chat", "0012_knowledge_walls")]
    operations: ClassVar[list[Operation]] = [
        migrations.AddField(
            model_name="toolcall", name="details", field=models.JSONField(null=True)
        )
    ]
