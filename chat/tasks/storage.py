"""Storage metering: gigabyte-days per vector store, computed to the second."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from uuid import UUID

from django.db import transaction
from procrastinate.contrib.django import app

from chat.models import Price, StorageChange, Usage, UsageKind, VectorStore
from tenants import clock
from tenants.db import call_privileged, in_db
from tenants.scope import tenant_scope

BATCH_SIZE = 1000
DAY = timedelta(days=1)
GB_DAY = Decimal(10**9 * 86_400)  # in byte-seconds
MIN_QUANTITY = Decimal("0.000001")


@app.periodic(cron="7 * * * *")
@app.task(queue="upkeep", queueing_lock="meter_storage")
async def meter_storage(timestamp: int) -> None:
    """Record the storage usage of past days, once per store and day."""
    midnight = clock.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    while stores := await in_db(call_privileged, "storage_to_meter", midnight, BATCH_SIZE):
        for store_id, tenant_id in stores:
            await in_db(meter_store, tenant_id, store_id, midnight)


def meter_store(tenant_id: UUID, store_id: str, until: datetime) -> None:
    """Record the usage of a store for each day before `until`, which is a midnight in UTC.

    The transaction that records a day also replaces its changes with one opening balance
    for the next day, so a repeated call does nothing. A late change to a day that was
    already recorded adds a usage row to that day; a late decrease is deducted from the
    next day.
    """
    with tenant_scope(tenant_id), transaction.atomic():
        rows = StorageChange.objects.filter(store_ref=store_id).select_for_update()
        changes = list(rows.filter(at__lt=until).order_by("at", "pk"))
        if not changes:
            return
        StorageChange.objects.filter(pk__in=[change.pk for change in changes]).delete()
        price = Price.objects.filter(kind=UsageKind.STORAGE).order_by("pk").first()
        store = VectorStore.objects.filter(pk=store_id).first()
        opening, usage = _compute_days(changes, until)
        Usage.objects.bulk_create(
            Usage(
                member_id=store.member_id if store else None,
                call=store_id,
                model=store_id,
                kind=UsageKind.STORAGE,
                quantity=quantity,
                unit="GB-day",
                price=price.price if price else None,
                currency=price.currency if price else "",
                price_source="tenant" if price else "",
                created_at=day,
            )
            for day, quantity in usage
        )
        if opening.bytes:
            opening.save(force_insert=True)


def _compute_days(
    changes: Sequence[StorageChange], until: datetime
) -> tuple[StorageChange, list[tuple[datetime, Decimal]]]:
    """Return the opening balance of the day at `until`, and the quantity of each day before it.

    Remainders too small for the usage column are carried to the next day.
    """
    day = changes[0].at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    held, carried, found, left = 0, Decimal(0), [], list(changes)
    while day < until:
        end = day + DAY
        byte_seconds = carried + held * 86_400
        while left and left[0].at < end:
            change = left.pop(0)
            held += change.bytes
            byte_seconds += change.carried + change.bytes * _to_seconds(end - change.at)
        quantity = max(Decimal(0), byte_seconds / GB_DAY).quantize(
            MIN_QUANTITY, rounding=ROUND_DOWN
        )
        carried = byte_seconds - quantity * GB_DAY
        if quantity:
            found.append((day, quantity))
        day = end
    opening = StorageChange(
        store_ref=changes[0].store_ref, bytes=held, at=until, carried=carried.quantize(MIN_QUANTITY)
    )
    return opening, found


def _to_seconds(time: timedelta) -> Decimal:
    return Decimal(time // timedelta(microseconds=1)) / 1_000_000
