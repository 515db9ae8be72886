"""Runs of a thread, as objects and as streams."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from chat import wire
from chat.actions.fields import clean_id, not_found
from chat.actions.new_runs import create_run, create_thread_and_run
from chat.actions.outputs import submit_tool_outputs
from chat.actions.runs import cancel_run, update_run
from chat.api import events
from chat.api.base import ApiView
from chat.api.events import Place
from chat.api.fields import Choice, Input, RawValue, StrictBoolean, Text
from chat.api.pages import PageQuery, PaginatedQuery
from chat.api.streams import Beginning, EventStream, check_room
from chat.api.threads import own_thread
from chat.errors import InvalidInput
from chat.models import Run, RunStatus, ToolCall
from chat.models.assistants import BusyPolicy
from chat.models.usage import with_cost
from chat.runs.engine.launch import end_overdue_run
from chat.runs.state.recovery import is_overdue
from chat.tools import registry
from tenants import clock
from tenants.authentication import Principal
from tenants.compiled_queries import CompiledQuery

EVENT_HEADER = "Last-Event-ID"
INCLUDABLE = "step_details.tool_calls[*].file_search.results[*].content"


class IncludeQuery(Input):
    """What may be asked for besides. Results of file searches have their content when asked."""

    vars()["include[]"] = Choice(required=False, choices=[INCLUDABLE])


class StreamQuery(Input):
    """How a run is streamed: whether each event has an id, for `Last-Event-ID`."""

    event_ids = Choice(required=False, choices=["true", "false"])


class NewRunQuery(IncludeQuery, StreamQuery):
    """What may be said beside the body of a new run."""


def wants_ids(query: dict[str, Any]) -> bool:
    """Tell whether events are asked for with their ids."""
    return query.get("event_ids") == "true"


def includes_content(query: dict[str, Any]) -> bool:
    """Tell whether the results of file searches are asked for with their content."""
    return query.get("include[]") == INCLUDABLE


class RunOptionsInput(Input):
    """What a program may set on a run; the action knows the limits."""

    assistant_id = Text()
    model = RawValue(required=False, allow_null=True)
    instructions = RawValue(required=False, allow_null=True)
    tools = RawValue(required=False, allow_null=True)
    metadata = RawValue(required=False, allow_null=True)
    temperature = RawValue(required=False, allow_null=True)
    top_p = RawValue(required=False, allow_null=True)
    reasoning_effort = RawValue(required=False, allow_null=True)
    response_format = RawValue(required=False, allow_null=True)
    max_prompt_tokens = RawValue(required=False, allow_null=True)
    max_completion_tokens = RawValue(required=False, allow_null=True)
    truncation_strategy = RawValue(required=False, allow_null=True)
    tool_choice = RawValue(required=False, allow_null=True)
    parallel_tool_calls = RawValue(required=False, allow_null=True)
    stream = StrictBoolean(required=False, allow_null=True)


class RunInput(RunOptionsInput):
    """The body of a new run."""

    additional_instructions = RawValue(required=False, allow_null=True)
    additional_messages = RawValue(required=False, allow_null=True)
    busy = Choice(required=False, allow_null=True, choices=BusyPolicy.values)


class FirstThreadInput(Input):
    """The thread that a run begins with."""

    messages = RawValue(required=False, allow_null=True)
    metadata = RawValue(required=False, allow_null=True)
    tool_resources = RawValue(required=False, allow_null=True)


class ThreadAndRunInput(RunOptionsInput):
    """The body of a new thread with a run."""

    thread = FirstThreadInput(required=False, allow_null=True)
    tool_resources = RawValue(required=False, allow_null=True)


class ToolOutputInput(Input):
    """What one call returned."""

    tool_call_id = Text()
    output = Text()


class ToolOutputsInput(Input):
    """The body that answers everything a run waits for."""

    tool_outputs = ToolOutputInput(many=True)
    stream = StrictBoolean(required=False, allow_null=True)


class RunChange(Input):
    """What may be changed of a run."""

    metadata = RawValue(required=False, allow_null=True)


def read_run(principal: Principal, thread_id: str, run_id: str) -> Run:
    """Return a run of one of the principal's threads; call it in a transaction.

    Raises:
        InvalidInput: for ids of another form.
        NotFound: for an unknown thread or run.
    """
    thread_id, run_id = clean_ids(thread_id, run_id)
    run = run_by_id.one(principal=principal, thread_id=thread_id, run_id=run_id)
    if run is not None and run.is_active and is_overdue(run.expires_at):
        end_overdue_run(principal.tenant_id, thread_id)
        run = run_by_id.one(principal=principal, thread_id=thread_id, run_id=run_id)
    if run is None:
        own_thread(principal, thread_id)  # says so where that is what is missing
        raise not_found("run_", run_id, param="run_id")
    return run


def clean_ids(thread_id: str, run_id: str) -> tuple[str, str]:
    """Return both; raises as `clean_id` does."""
    return (
        clean_id(thread_id, param="thread_id", prefix="thread_"),
        clean_id(run_id, param="run_id", prefix="run_"),
    )


@PaginatedQuery
def runs_of(*, principal: Any, thread_id: Any) -> QuerySet[Run]:
    """Return the runs of a thread of the principal, each with its cost."""
    runs = Run.objects.for_principal(principal).select_related("assistant")
    return with_cost(runs.filter(thread_id=thread_id))


@CompiledQuery
def run_by_id(*, principal: Any, thread_id: Any, run_id: Any) -> QuerySet[Run]:
    """Return the run of a thread of the principal with this id, if there is one."""
    return runs_of.rows(principal=principal, thread_id=thread_id).filter(pk=run_id)


def render_run(run: Any) -> dict[str, Any]:
    """Return the run object with what it waits for and what it cost; call it in a transaction."""
    if run.status != RunStatus.REQUIRES_ACTION:
        return wire.run_object(run, cost=run.cost)
    calls = ToolCall.objects.filter(run=run).order_by("round", "index")
    return wire.run_object(run, calls=calls, labels=registry.labels(), cost=run.cost)


class RunsView(ApiView):
    """The runs of a thread."""

    def get(self, request: Request, thread_id: str) -> Response:
        """List them."""
        query = self.query(PageQuery)
        with transaction.atomic():
            own_thread(self.principal, thread_id)
            runs = runs_of.of(principal=self.principal, thread_id=thread_id)
            overdue: list[str] = []

            def render(run: Any) -> dict[str, Any]:
                if run.is_active and is_overdue(run.expires_at):
                    overdue.append(run.thread_id)
                return render_run(run)

            page = self.page(runs, render, query=query, prefix="run_")
            if overdue:
                end_overdue_run(self.principal.tenant_id, overdue[0])
                page = self.page(runs, render_run, query=query, prefix="run_")
            return page

    def post(self, request: Request, thread_id: str) -> HttpResponseBase:
        """Create one."""
        query = self.query(NewRunQuery)
        given = self.input(RunInput)
        stream = given.pop("stream", None)
        if stream:
            check_room(self.principal)
        thread_id = clean_id(thread_id, param="thread_id", prefix="thread_")
        run = create_run(self.principal, thread_id, **given)
        if stream:
            beginning = Beginning(
                run=wire.run_object(run),
                with_content=includes_content(query),
                with_ids=wants_ids(query),
            )
            return EventStream(self.principal, beginning)
        return self.answer(wire.run_object(run))


class ThreadAndRunView(ApiView):
    """A run together with the thread it answers."""

    def post(self, request: Request) -> HttpResponseBase:
        """Create both."""
        with_ids = wants_ids(self.query(StreamQuery))
        given = self.input(ThreadAndRunInput)
        stream = given.pop("stream", None)
        if stream:
            check_room(self.principal)
        run = create_thread_and_run(self.principal, **given)
        if not stream:
            return self.answer(wire.run_object(run))
        thread = wire.thread_object(run.thread)
        beginning = Beginning(run=wire.run_object(run), thread=thread, with_ids=with_ids)
        return EventStream(self.principal, beginning)


class RunView(ApiView):
    """One run."""

    def get(self, request: Request, thread_id: str, run_id: str) -> Response:
        """Retrieve it; a client that polls is told when to ask again."""
        with transaction.atomic():
            run = read_run(self.principal, thread_id, run_id)
            young = clock.now() - run.created_at < timedelta(seconds=5)
            poll_after = None if run.ended_at else 200 if young else 1000
            return self.answer(render_run(run), poll_after=poll_after)

    def post(self, request: Request, thread_id: str, run_id: str) -> Response:
        """Change its metadata."""
        given = self.input(RunChange)
        thread_id, run_id = clean_ids(thread_id, run_id)
        update_run(self.principal, run_id, thread_id=thread_id, metadata=given.get("metadata"))
        with transaction.atomic():
            return self.answer(render_run(read_run(self.principal, thread_id, run_id)))


class CancelRunView(ApiView):
    """The end of a run before its time."""

    def post(self, request: Request, thread_id: str, run_id: str) -> Response:
        """Stop it."""
        self.input(Input)
        thread_id, run_id = clean_ids(thread_id, run_id)
        run = cancel_run(self.principal, run_id, thread_id=thread_id)
        return self.answer(wire.run_object(run))


class SubmitToolOutputsView(ApiView):
    """What a program's functions returned, and people's approvals."""

    def post(self, request: Request, thread_id: str, run_id: str) -> HttpResponseBase:
        """Go on with the run."""
        with_ids = wants_ids(self.query(StreamQuery))
        given = self.input(ToolOutputsInput)
        outputs = {item["tool_call_id"]: item["output"] for item in given["tool_outputs"]}
        if len(outputs) != len(given["tool_outputs"]):
            raise InvalidInput("A call is answered twice.", param="tool_outputs")
        if given.get("stream"):
            check_room(self.principal)
        thread_id, run_id = clean_ids(thread_id, run_id)
        run = submit_tool_outputs(self.principal, run_id, outputs, thread_id=thread_id)
        if not given.get("stream"):
            return self.answer(wire.run_object(run))
        with transaction.atomic():
            calls = ToolCall.objects.filter(run=run, pk__in=outputs)
            index, step = calls.values_list("step__index", "step_id")[0]
            at = Place(index, events.SETTLED, state=run.state, key=events.key_of(step))
        beginning = Beginning(
            run=wire.run_object(run),
            at=at,
            prelude=("queued", "in_progress"),
            since=run.state,
            with_ids=with_ids,
        )
        return EventStream(self.principal, beginning)


class EventsView(ApiView):
    """An extension: the stream of a run again, from where a client lost it."""

    http_method_names = ["get"]

    def get(self, request: Request, thread_id: str, run_id: str) -> EventStream:
        """Stream what the client lacks: all without `Last-Event-ID`."""
        with_content = includes_content(self.query(IncludeQuery))
        # A browser that has seen no id sends none, or an empty one.
        said = request.headers.get(EVENT_HEADER, "")
        at = events.place_of(said) if said else events.BEFORE_RUN
        if at is None:
            raise InvalidInput(f"The header {EVENT_HEADER} names no event.")
        check_room(self.principal)
        with transaction.atomic():
            run = read_run(self.principal, thread_id, run_id)
            found = render_run(run)
        prelude = events.prelude_after(at)
        beginning = Beginning(
            run=found, at=at, prelude=prelude, with_content=with_content, with_ids=True
        )
        return EventStream(self.principal, beginning)
