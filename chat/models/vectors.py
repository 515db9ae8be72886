"""Vectors of passages, in a narrow table: an exact scan reads nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db import models

from chat.models.stores import Chunk
from tenants.constraints import tenant_constraints
from tenants.managers import TenantModel


class HalfVectorField(models.Field):  # type: ignore[type-arg]
    """A `halfvec` of pgvector: 16-bit floats, of any number of dimensions up to 4,000."""

    def db_type(self, connection: Any) -> str:
        """Return the type without a length: stores have embedders of different ones."""
        return "halfvec"

    def get_prep_value(self, value: Sequence[float] | str | None) -> str | None:
        """Return what PostgreSQL reads."""
        return value if value is None or isinstance(value, str) else format_vector(value)


class SignsField(models.Field):  # type: ignore[type-arg]
    """A bit for each number of a vector: 1 where it is above 0."""

    def db_type(self, connection: Any) -> str:
        """Return the type without a length, as the vectors have none."""
        return "bit varying"


class Unread(models.GeneratedField):
    """A column that PostgreSQL makes for itself: what it made is not told back."""

    db_returning = False  # type: ignore[assignment]


def format_vector(vector: Sequence[float]) -> str:
    """Return a vector as pgvector reads it, with what 16 bits can tell."""
    return f"[{','.join(f'{x:.5g}' for x in vector)}]"


class Vector(TenantModel):
    """A direction that a passage, or a window of it, points in. Found through a door only."""

    id = models.BigAutoField(primary_key=True)
    store_ref = models.CharField(max_length=40)
    chunk = models.ForeignKey(
        Chunk, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    direction = HalfVectorField()
    # A search looks at these first: they are a sixteenth, and their index holds them.
    signs = Unread(
        expression=models.Func(models.F("direction"), function="binary_quantize"),
        output_field=SignsField(),
        db_persist=True,
    )

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = tenant_constraints(
            "vector", chunk="CASCADE"
        )
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["tenant", "store_ref"],
                include=["id", "chunk", "signs"],
                name="vector_signs_by_store",
            ),
            models.Index(fields=["tenant", "chunk"], name="vector_by_chunk"),
        ]

    def __str__(self) -> str:
        return f"{self.store_ref} {self.chunk_id}"
