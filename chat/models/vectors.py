"""Embedding vectors in a narrow table, so that an exact scan reads only vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db import models

from chat.models.stores import Chunk
from tenants.constraints import build_tenant_constraints
from tenants.managers import TenantModel


class HalfVectorField(models.Field):  # type: ignore[type-arg]
    """A pgvector `halfvec`: 16-bit floats, with up to 4,000 dimensions."""

    def db_type(self, connection: Any) -> str:
        """Return the type without a length: stores use embeddings of different dimensions."""
        return "halfvec"

    def get_prep_value(self, value: Sequence[float] | str | None) -> str | None:
        """Return the value in pgvector's text format."""
        return value if value is None or isinstance(value, str) else format_vector(value)


class SignsField(models.Field):  # type: ignore[type-arg]
    """The sign bits of a vector: 1 for each number above 0."""

    def db_type(self, connection: Any) -> str:
        """Return the type without a length, like that of the vectors."""
        return "bit varying"


class Unread(models.GeneratedField):
    """A generated column whose value is not returned by INSERT."""

    db_returning = False  # type: ignore[assignment]


def format_vector(vector: Sequence[float]) -> str:
    """Return a vector in pgvector's text format, rounded to 16-bit precision."""
    return f"[{','.join(f'{x:.5g}' for x in vector)}]"


class Vector(TenantModel):
    """The embedding of a chunk or of a window of it.

    Searched only through a SECURITY DEFINER function.
    """

    id = models.BigAutoField(primary_key=True)
    store_ref = models.CharField(max_length=40)
    chunk = models.ForeignKey(
        Chunk, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    direction = HalfVectorField()
    # Searches scan these first: a sixteenth of the size, and covered by the index.
    signs = Unread(
        expression=models.Func(models.F("direction"), function="binary_quantize"),
        output_field=SignsField(),
        db_persist=True,
    )

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = build_tenant_constraints(
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
