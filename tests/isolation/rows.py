"""Everything an id can name, of every person in both companies; and unknown ids of each form."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from django.utils.http import int_to_base36

from chat.demo.models import Contact, Customer, Order, OrderLine
from chat.ids import new_id
from chat.models import (
    File,
    FileBatch,
    Message,
    Run,
    RunStep,
    StoreFile,
    Thread,
    ToolCall,
    Upload,
    UploadPart,
    VectorStore,
)
from chat.models.resources import build_code_resources
from chat.storage import change_usage
from tenants.models import ApiKey, Membership
from tests.database import TestDatabase
from tests.world import Company, World

Ids = dict[str, str]
# Orders 1001 are in both companies, the others in one only.
ORDERS = {"acme": {"alice": 1001, "bob": 2002}, "globex": {"gina": 1001, "hugo": 3003}}
PEOPLE = ("alice", "adam", "pat")
# Whose rows they try to reach: a stranger's, a colleague's, and one's own in the other company.
ASKED_FOR = ("gina", "bob", "pat")
CSRF = re.compile(r'(name="csrfmiddlewaretoken" value="|"csrf": ")[^"]+')


@dataclass(kw_only=True)
class Rows:
    """What each person's ids are: `of["acme"]["alice"]["thread"]`."""

    world: World
    of: dict[str, dict[str, Ids]]
    # Whether those of other people in the same company are to be tried too.
    colleagues: bool = True

    def others(self, person: str, kind: str) -> Iterator[str]:
        """Yield the ids of this kind that `person`, acting for acme, may not use."""
        tried = self.of if self.colleagues else {"globex": self.of["globex"]}
        for slug, people in tried.items():
            for name, ids in people.items():
                own = slug == "acme" and (name == person or kind in SHARED)
                # Somebody in two companies may name the other membership to switch to it.
                himself = name == person and kind in ("membership", "email", "user")
                if name in ASKED_FOR and not own and not himself:
                    yield ids[kind]


# What everybody in a company may use.
SHARED = ("assistant", "company_file", "email", "user", "invitation")


def build_rows(world: World) -> Rows:
    """Add to the world what it lacks, and return the ids."""
    of: dict[str, dict[str, Ids]] = {}
    for company in (world.acme, world.globex):
        with company.scope():
            shared, second = (_file(None, f"{company.canary}-SHARED") for _twice in range(2))
            company.assistant.tool_resources = build_code_resources([shared.pk, second.pk])
            company.assistant.save(update_fields=["tool_resources"])
            common = {"company_file": shared.pk, "second_company_file": second.pk}
            of[company.tenant.slug] = {
                name: {**common, **_rows_of(company, name)} for name in company.people
            }
            for name, number in ORDERS[company.tenant.slug].items():
                _order(company, name, number)
    return Rows(world=world, of=of)


def _rows_of(company: Company, name: str) -> Ids:
    mark = f"{company.canary}{name.upper()}"
    member = company.people[name]
    finished = _thread(company, name, f"{mark}-FINISHED")
    waiting = _thread(company, name, f"{mark}-WAITING")
    deleted = _thread(company, name, f"{mark}-DELETED", deleted_at=timezone.now())
    # One that failed may be asked for again.
    run = _run(company, finished, "failed", reason="server_error")
    stopped = _run(company, waiting, "requires_action")
    queued = _message(company, waiting, None, f"{mark}-QUEUED")
    files = _files(member, mark)
    first = Message.objects.get(thread=finished, position=1)
    first.attachments = [{"file_id": files["file"], "tools": [{"type": "code_interpreter"}]}]
    first.save(update_fields=["attachments"])
    assert member.user is not None
    call = _call(stopped, f"{mark}-WAITING")
    return {
        "thread": finished.pk,
        "busy_thread": waiting.pk,
        "deleted_thread": deleted.pk,
        "message": first.pk,
        "queued": queued.pk,
        "run": run.pk,
        "active_run": stopped.pk,
        "call": call.pk,
        "step": call.step_id,
        "assistant": company.assistant.pk,
        "membership": str(member.pk),
        "email": member.user.email,
        "user": int_to_base36(member.user.pk),
        "invitation": str(company.invitation.pk),
        "client_id": str(queued.client_id),
        "key": str(_key(member, mark).pk),
        **files,
    }


def _files(member: Membership, mark: str) -> Ids:
    files = [_file(member, mark) for _twice in range(2)]
    store = VectorStore.objects.create(member=member, name=f"{mark}-STORE")
    batch = FileBatch.objects.create(store=store)
    for file in files:
        StoreFile.objects.create(store=store, file=file, batch=batch, text=f"{mark}-READ")
    upload = Upload.objects.create(
        member=member,
        purpose="assistants",
        filename=f"{mark}-UPLOAD",
        media_type="text/plain",
        bytes=4,
        expires_at=timezone.now() + dt.timedelta(hours=1),
    )
    part = UploadPart.objects.create(
        upload=upload, bytes=4, storage_key=_stored("part"), stored_at=timezone.now()
    )
    return {
        "file": files[0].pk,
        "second_file": files[1].pk,
        "picture": _file(member, f"{mark}-PICTURE", media_type="image/png").pk,
        "store": store.pk,
        "batch": batch.pk,
        "upload": upload.pk,
        "part": part.pk,
    }


def _file(member: Membership | None, mark: str, *, media_type: str = "text/plain") -> File:
    file: File = File.objects.create(
        member=member,
        purpose="assistants",
        filename=f"{mark}-FILE",
        media_type=media_type,
        bytes=len(mark),
        storage_key=_stored(mark),
        stored_at=timezone.now(),
    )
    change_usage(file.bytes)
    return file


def _stored(text: str) -> str:
    return str(default_storage.save(f"files/{uuid.uuid4().hex}", ContentFile(text.encode())))


def _key(member: Membership, mark: str) -> ApiKey:
    key: ApiKey = ApiKey.objects.create(
        membership=member, name=f"{mark}-KEY", prefix="atr_", secret_hash=uuid.uuid4().hex
    )
    return key


def _thread(company: Company, name: str, mark: str, **fields: Any) -> Thread:
    member = company.people[name]
    thread: Thread = Thread.objects.create(member=member, title=mark, last_position=1, **fields)
    _message(company, thread, 1, f"{mark}-TEXT")
    return thread


def _message(company: Company, thread: Thread, position: int | None, text: str) -> Message:
    content = [{"type": "text", "text": {"value": text, "annotations": []}}]
    message: Message = Message.objects.create(
        thread=thread,
        position=position,
        role="user",
        content=content,
        assistant=company.assistant,
        sender=thread.member_id,
        client_id=str(uuid.uuid4()),
    )
    return message


def _run(company: Company, thread: Thread, status: str, *, reason: str = "") -> Run:
    run: Run = Run.objects.create(
        thread=thread,
        assistant=company.assistant,
        assistant_ref=company.assistant.pk,
        member_id=thread.member_id,
        status=status,
        reason=reason,
        model="demo-scripted",
        upstream="demo",
        instructions=f"{company.canary}-INSTRUCTIONS",
        through_position=1,
        expires_at=timezone.now() + dt.timedelta(days=1),
    )
    return run


def _call(run: Run, mark: str) -> ToolCall:
    step = RunStep.objects.create(run=run, index=0, type="tool_calls")
    call: ToolCall = ToolCall.objects.create(
        run=run,
        step=step,
        round=0,
        index=0,
        name="cancel_order",
        effect="destructive",
        arguments=f'{{"order_number": "{mark}"}}',
        arguments_hash="0" * 64,
        status="waiting",
        approval_expires_at=timezone.now() + dt.timedelta(days=1),
    )
    return call


def _order(company: Company, name: str, number: int) -> None:
    mark = f"{company.canary}{name.upper()}"
    customer = Customer.objects.create(name=f"{mark}-CUSTOMER")
    Contact.objects.create(customer=customer, member=company.people[name])
    order = Order.objects.create(
        number=number,
        customer=customer,
        status="placed",
        ordered_on=dt.date(2026, 1, 2),
        carrier=f"{mark}-CARRIER",
        delivery_address=f"{mark}-ADDRESS",
    )
    OrderLine.objects.create(order=order, name=f"{mark}-GOODS", quantity=1, price=Decimal(5))


def unknown(kind: str) -> str:
    """Return a well-formed id of this kind that names nothing."""
    prefixes = {
        "thread": "thread_", "busy_thread": "thread_", "deleted_thread": "thread_",
        "message": "msg_", "queued": "msg_", "run": "run_", "active_run": "run_",
        "call": "call_", "step": "step_", "assistant": "asst_",
        "file": "file-", "company_file": "file-", "picture": "file-",
        "store": "vs_", "batch": "vsfb_",
        "upload": "upload_", "part": "part_",
    }  # fmt: skip
    if kind in prefixes:
        return new_id(prefixes[kind])
    if kind == "email":
        return "nobody@nowhere.example"
    return int_to_base36(987_654_321) if kind == "user" else str(uuid.uuid4())


def blotted(text: str, *ids: str) -> str:
    """Return `text` without the ids that were asked for and without form tokens."""
    for item in ids:
        text = re.sub(rf"(?<![\w-]){re.escape(item)}(?![\w-])", "ID", text)
    return CSRF.sub(r"\1", text)


def contents(database: TestDatabase) -> dict[str, list[Any]]:
    """Return every row behind the second wall, as the database's owner sees it."""
    walled = database.owner.execute(
        "SELECT oid::regclass::text FROM pg_class WHERE relrowsecurity ORDER BY 1"
    ).fetchall()
    assert len(walled) > 10
    # A failed sign-in is no act upon the company: it is recorded in the log of the account's.
    kept = {"tenants_auditevent": "WHERE action <> 'sign_in.failed'"}
    return {
        table: database.owner.execute(
            f"SELECT t::text FROM {table} t {kept.get(table, '')} ORDER BY 1"
        ).fetchall()
        for (table,) in walled
    }
