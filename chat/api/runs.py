"""Views of a thread's runs, returned as objects or streams."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from chat import wire
from chat.actions.fields import build_not_found, clean_id
from chat.actions.runs.create import create_run, create_thread_and_run
from chat.actions.runs.manage import cancel_run, update_run
from chat.actions.runs.tool_outputs import submit_tool_outputs
from chat.api import events
from chat.api.base import ApiView
from chat.api.events import EventId
from chat.api.fields import Choice, Input, RawValue, StrictBoolean, Text
from chat.api.pagination import PageQuery, PaginatedQuery
from chat.api.streams import EventStream, StreamStart, check_stream_limit
from chat.api.threads import get_own_thread
from chat.errors import InvalidInput
from chat.models import Run, RunStatus, ToolCall
from chat.models.assistants import BusyPolicy
from chat.models.usage import annotate_cost
from chat.runs.engine.launch import end_overdue_run
from chat.runs.state.recovery import is_overdue
from chat.tools import registry
from tenants import clock
from tenants.authentication import Principal
from tenants.compiled_queries import CompiledQuery

EVENT_HEADER = "Last-Event-ID"
INCLUDABLE = "step_details.tool_calls[*].file_search.results[*].content"


class IncludeQuery(Input):
    """Query parameter that adds their content to the results of file searches."""

    vars()["include[]"] = Choice(required=False, choices=[INCLUDABLE])


class StreamQuery(Input):
    """Query parameter that gives each streamed event an ID, for `Last-Event-ID`."""

    event_ids = Choice(required=False, choices=["true", "false"])


class NewRunQuery(IncludeQuery, StreamQuery):
    """Query parameters of a new run."""


def wants_ids(query: dict[str, Any]) -> bool:
    """Return True if the client requests event IDs."""
    return query.get("event_ids") == "true"


def includes_content(query: dict[str, Any]) -> bool:
    """Return True if the client requests the content of file search results."""
    return query.get("include[]") == INCLUDABLE


class RunOptionsInput(Input):
    """Run options that a client may set; the action validates their limits."""

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
    """Body of a new run."""

    additional_instructions = RawValue(required=False, allow_null=True)
    additional_messages = RawValue(required=False, allow_null=True)
    busy = Choice(required=False, allow_null=True, choices=BusyPolicy.values)


class FirstThreadInput(Input):
    """Thread that is created together with a run."""

    messages = RawValue(required=False, allow_null=True)
    metadata = RawValue(required=False, allow_null=True)
    tool_resources = RawValue(required=False, allow_null=True)


class ThreadAndRunInput(RunOptionsInput):
    """Body of a new thread with a run."""

    thread = FirstThreadInput(required=False, allow_null=True)
    tool_resources = RawValue(required=False, allow_null=True)


class ToolOutputInput(Input):
    """Output of one tool call."""

    tool_call_id = Text()
    output = Text()


class ToolOutputsInput(Input):
    """Outputs of all calls that a run waits for."""

    tool_outputs = ToolOutputInput(many=True)
    stream = StrictBoolean(required=False, allow_null=True)


class RunUpdate(Input):
    """Changeable fields of a run."""

    metadata = RawValue(required=False, allow_null=True)


def read_run(principal: Principal, thread_id: str, run_id: str) -> Run:
    """Return a run of one of the principal's threads; call it in a transaction.

    A run that is overdue is ended first.

    Raises:
        InvalidInput: an ID has the wrong prefix.
        NotFound: the thread or run does not exist, or the thread is not the principal's.
    """
    thread_id, run_id = clean_ids(thread_id, run_id)
    run = run_by_id.first(principal=principal, thread_id=thread_id, run_id=run_id)
    if run is not None and run.is_active and is_overdue(run.expires_at):
        end_overdue_run(principal.tenant_id, thread_id)
        run = run_by_id.first(principal=principal, thread_id=thread_id, run_id=run_id)
    if run is None:
        get_own_thread(principal, thread_id)  # raises NotFound for the thread if it is missing
        raise build_not_found("run_", run_id, param="run_id")
    return run


def clean_ids(thread_id: str, run_id: str) -> tuple[str, str]:
    """Return both IDs, validated.

    Raises:
        InvalidInput: an ID has the wrong prefix.
        NotFound: an ID is malformed after its prefix.
    """
    return (
        clean_id(thread_id, param="thread_id", prefix="thread_"),
        clean_id(run_id, param="run_id", prefix="run_"),
    )


@PaginatedQuery
def thread_runs(*, principal: Any, thread_id: Any) -> QuerySet[Run]:
    """Return the principal's runs of a thread, each with its cost."""
    runs = Run.objects.visible_to(principal).select_related("assistant")
    return annotate_cost(runs.filter(thread_id=thread_id))


@CompiledQuery
def run_by_id(*, principal: Any, thread_id: Any, run_id: Any) -> QuerySet[Run]:
    """Return the principal's run of a thread with this ID, if it exists."""
    return thread_runs.rows(principal=principal, thread_id=thread_id).filter(pk=run_id)


def render_run(run: Any) -> dict[str, Any]:
    """Return the run object with required action and cost; call it in a transaction."""
    if run.status != RunStatus.REQUIRES_ACTION:
        return wire.run_object(run, cost=run.cost)
    calls = ToolCall.objects.filter(run=run).order_by("round", "index")
    return wire.run_object(run, calls=calls, labels=registry.get_labels(), cost=run.cost)


class RunsView(ApiView):
    """Runs of a thread."""

    def get(self, request: Request, thread_id: str) -> Response:
        """List the runs."""
        query = self.query(PageQuery)
        with transaction.atomic():
            get_own_thread(self.principal, thread_id)
            runs = thread_runs.bind(principal=self.principal, thread_id=thread_id)
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
        """Create a run."""
        query = self.query(NewRunQuery)
        body = self.input(RunInput)
        stream = body.pop("stream", None)
        if stream:
            check_stream_limit(self.principal)
        thread_id = clean_id(thread_id, param="thread_id", prefix="thread_")
        run = create_run(self.principal, thread_id, **body)
        if stream:
            beginning = StreamStart(
                run=wire.run_object(run),
                with_content=includes_content(query),
                with_ids=wants_ids(query),
            )
            return EventStream(self.principal, beginning)
        return self.answer(wire.run_object(run))


class ThreadAndRunView(ApiView):
    """Creation of a thread together with a run."""

    def post(self, request: Request) -> HttpResponseBase:
        """Create the thread and the run."""
        with_ids = wants_ids(self.query(StreamQuery))
        body = self.input(ThreadAndRunInput)
        stream = body.pop("stream", None)
        if stream:
            check_stream_limit(self.principal)
        run = create_thread_and_run(self.principal, **body)
        if not stream:
            return self.answer(wire.run_object(run))
        thread = wire.thread_object(run.thread)
        beginning = StreamStart(run=wire.run_object(run), thread=thread, with_ids=with_ids)
        return EventStream(self.principal, beginning)


class RunView(ApiView):
    """A single run."""

    def get(self, request: Request, thread_id: str, run_id: str) -> Response:
        """Retrieve the run; a header tells polling clients when to ask again."""
        with transaction.atomic():
            run = read_run(self.principal, thread_id, run_id)
            young = clock.now() - run.created_at < timedelta(seconds=5)
            poll_after = None if run.ended_at else 200 if young else 1000
            return self.answer(render_run(run), poll_after=poll_after)

    def post(self, request: Request, thread_id: str, run_id: str) -> Response:
        """Update the run's metadata."""
        body = self.input(RunUpdate)
        thread_id, run_id = clean_ids(thread_id, run_id)
        update_run(self.principal, run_id, thread_id=thread_id, metadata=body.get("metadata"))
        with transaction.atomic():
            return self.answer(render_run(read_run(self.principal, thread_id, run_id)))


class CancelRunView(ApiView):
    """Cancellation of a run."""

    def post(self, request: Request, thread_id: str, run_id: str) -> Response:
        """Cancel the run."""
        self.input(Input)
        thread_id, run_id = clean_ids(thread_id, run_id)
        run = cancel_run(self.principal, run_id, thread_id=thread_id)
        return self.answer(wire.run_object(run))


class SubmitToolOutputsView(ApiView):
    """Submission of function outputs and of people's approvals."""

    def post(self, request: Request, thread_id: str, run_id: str) -> HttpResponseBase:
        """Submit the outputs and resume the run."""
        with_ids = wants_ids(self.query(StreamQuery))
        body = self.input(ToolOutputsInput)
        outputs = {item["tool_call_id"]: item["output"] for item in body["tool_outputs"]}
        if len(outputs) != len(body["tool_outputs"]):
            raise InvalidInput("A tool call has more than one output.", param="tool_outputs")
        if body.get("stream"):
            check_stream_limit(self.principal)
        thread_id, run_id = clean_ids(thread_id, run_id)
        run = submit_tool_outputs(self.principal, run_id, outputs, thread_id=thread_id)
        if not body.get("stream"):
            return self.answer(wire.run_object(run))
        with transaction.atomic():
            calls = ToolCall.objects.filter(run=run, pk__in=outputs)
            index, step = calls.values_list("step__index", "step_id")[0]
            at = EventId(index, events.SETTLED, state=run.state, key=events.get_step_key(step))
        beginning = StreamStart(
            run=wire.run_object(run),
            at=at,
            prelude=("queued", "in_progress"),
            since=run.state,
            with_ids=with_ids,
        )
        return EventStream(self.principal, beginning)


class EventsView(ApiView):
    """Extension: resumption of a run's stream."""

    http_method_names = ["get"]

    def get(self, request: Request, thread_id: str, run_id: str) -> EventStream:
        """Stream the events after `Last-Event-ID`, or all events without it."""
        with_content = includes_content(self.query(IncludeQuery))
        # A browser that has received no ID sends no header, or an empty one.
        event_id = request.headers.get(EVENT_HEADER, "")
        at = events.parse_event_id(event_id) if event_id else events.BEFORE_RUN
        if at is None:
            raise InvalidInput(f"The header {EVENT_HEADER} is not a valid event ID.")
        check_stream_limit(self.principal)
        with transaction.atomic():
            run = read_run(self.principal, thread_id, run_id)
            run_object = render_run(run)
        prelude = events.get_remaining_prelude(at)
        beginning = StreamStart(
            run=run_object, at=at, prelude=prelude, with_content=with_content, with_ids=True
        )
        return EventStream(self.principal, beginning)
