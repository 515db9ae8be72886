"""The code interpreter tool: a metered session per thread, with state kept between calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import structlog
from django.utils.translation import gettext_lazy as _

from chat import storage
from chat.errors import StorageFull
from chat.models import Price, Run, Usage, UsageKind
from chat.sandbox.base import (
    FOLDER,
    BadFile,
    CodeResult,
    LimitHit,
    SandboxUnavailable,
    Session,
    SessionEnded,
    check_size,
)
from chat.tools import code_state, registry
from chat.tools.base import DeferredResult, Effect, Limits, ToolContext, ToolError, ToolResult
from chat.tools.code_files import NAME, InputFile, OutputFile, list_inputs, write_outputs
from chat.tools.code_sessions import CodeSessions, build_limits, get_code_sessions
from chat.tools.code_state import NewState, SavedState
from chat.tools.registry import tool
from tenants.authentication import Principal
from tenants.db import DatabasePool, run_in_pool, run_with_retry

CODE_SESSION = UsageKind.CODE_SESSION.value
LOG_CHARACTERS, ERROR_CHARACTERS = 20_000, 6_000
PICTURES = "The person sees the images with your next message: do not link to them."
FILES = f"To give a file to the person, write a Markdown link to sandbox:{FOLDER}/ and its name."
GONE = "The variables and files of earlier code are lost: start again."
LOST = "These variables could not be saved: {names}. Compute them again if you need them."
STATE_BEFORE = "The session ended: the next code starts from the state before this code."
NOT_KEPT = "Variables and files are too large to save: the next code may have to start again."
FULL = "The company's storage is full. Not saved: {names}."
CUT = "\n[truncated: {size} characters in total]\n"
LIMITS = {
    LimitHit.LOGS: "The output was truncated: print less.",
    LimitHit.IMAGES: "Some images were omitted: too many, or too large.",
}

log = structlog.get_logger(__name__)


@tool(
    label=_("Compute"),
    effect=Effect.WRITE_IDEMPOTENT,
    untrusted_output=True,
    builtin=NAME,
    in_order=True,
    timeout=120,
)
async def code_interpreter(
    ctx: ToolContext, code: Annotated[str, Limits(1, 65_536)]
) -> DeferredResult:
    """Run Python and get what it prints, its last value, and the files and charts it makes.

    Args:
        code: Python source. Variables and files of earlier calls in this chat are there.
    """
    sessions = get_code_sessions()
    call = _Call(ctx=ctx, code=code, sessions=sessions, end_turn=await sessions.begin(ctx.thread))
    try:
        return await call.run()
    except SandboxUnavailable as error:
        call.end_turn()
        log.error("code_sandbox_unavailable", why=str(error))
        raise ToolError(
            "sandbox_unavailable", "Code execution is unavailable at the moment."
        ) from error
    except BaseException:
        call.end_turn()
        raise


def list_input_files(principal: Principal, run: Run) -> list[InputFile] | None:
    """Return the files that the run's code may read, or None if it may not run code.

    Call within the tenant's scope and a transaction.
    """
    if {"type": NAME} not in run.tools or NAME in registry.get_client_function_names(run.tools):
        return None
    named = code_state.load_state(run.thread_id).inputs
    return list_inputs(principal, run, named=named)


async def build_description(inputs: Iterable[InputFile]) -> str:
    """Return the tool description for the model: available features and file paths."""
    try:
        sandbox = await get_code_sessions().sandbox()
    except SandboxUnavailable:
        return "Code execution is unavailable at the moment: do not call this."
    paths = "".join(f"\n- {FOLDER}/{item.name}" for item in inputs)
    return f"{sandbox.description}\n\nFiles there:{paths}" if paths else sandbox.description


@dataclass(kw_only=True)
class _Call:
    """State of one call, from the start of its turn to the end."""

    ctx: ToolContext
    code: str
    sessions: CodeSessions
    end_turn: Callable[[], None]
    session: Session | None = None
    input_names: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    async def run(self) -> DeferredResult:
        """Run the code and write its outputs, which take effect only when settled."""
        before, inputs = await run_with_retry(self._plan)
        try:
            self.session = await self._open(before)
            await self._put_inputs(self.session, inputs)
            outcome = await self.session.run(self.code)
            after = await self._save(self.session)
            outputs, refused = await run_in_pool(
                DatabasePool.TOOLS, write_outputs, self.ctx.thread, outcome
            )
        except BaseException:
            if self.session is not None:
                self.session.kill()
                await self.session.close()
            raise
        self.notes += refused
        return DeferredResult(
            settle=partial(self._settle, outcome, after, outputs),
            ended=partial(self._finish, after),
        )

    def _plan(self) -> tuple[SavedState, list[InputFile]]:
        ctx = self.ctx
        with ctx.scope():
            before = code_state.load_state(ctx.thread.pk)
            return before, list_inputs(ctx.principal, ctx.run, named=before.inputs)

    async def _open(self, before: SavedState) -> Session:
        session = await self.sessions.take(self.ctx.thread.pk, state=before.state)
        if session is not None:
            self.input_names = dict(before.inputs)
            return session
        sandbox, saved = await self.sessions.sandbox(), None
        if before.storage_key and before.backend == sandbox.name:
            saved = await asyncio.to_thread(code_state.read, before.storage_key)
        try:
            session = await self.sessions.open(saved)
        except SandboxUnavailable:
            if saved is None:
                raise
            # The saved state may be what fails to start; fall back to an empty session.
            saved, session = None, await self.sessions.open(None)
        if saved is not None:
            self.input_names = dict(before.inputs)
            self._note_lost([*before.lost, *session.lost])
        elif before.state:
            self.notes.append(GONE)
        return session

    def _note_lost(self, names: Iterable[str]) -> None:
        lost = ", ".join(dict.fromkeys(names))
        if lost:
            self.notes.append(LOST.format(names=lost))

    async def _put_inputs(self, session: Session, inputs: Iterable[InputFile]) -> None:
        for item in inputs:
            if item.file.pk in self.input_names:
                continue
            try:
                # Check the size before reading, so that a large file is never held in memory.
                check_size(item.file.bytes, build_limits())
                data = await asyncio.to_thread(storage.read_content, item.file.storage_key)
                await session.put_file(item.name, data)
            except (BadFile, FileNotFoundError) as error:
                why = str(error) if isinstance(error, BadFile) else "It no longer exists."
                self.notes.append(f"{item.name} is not available: {why}")
            else:
                self.input_names[item.file.pk] = item.name

    async def _save(self, session: Session) -> NewState | None:
        """Write the session's state; return None if the session has ended without one."""
        try:
            saved = await session.save()
        except SessionEnded:
            self.notes.append(STATE_BEFORE)
            return None
        file = None
        if saved is not None:
            file = await run_in_pool(DatabasePool.TOOLS, code_state.write, self.ctx.thread, saved)
        sandbox = await self.sessions.sandbox()
        return NewState(
            backend=sandbox.name,
            file=file,
            lost=saved.lost if saved else (),
            inputs=dict(self.input_names),
        )

    def _settle(
        self, outcome: CodeResult, after: NewState | None, outputs: list[OutputFile]
    ) -> ToolResult:
        settling = code_state.begin_settling(self.ctx.thread, after)
        # Files for people take precedence over the saved state if storage is short.
        kept, refused = _keep(outputs)
        state_kept = code_state.settle(settling, after)
        if settling.new:
            record_code_session(self.ctx)
        notes = [*self.notes, *describe_limits(outcome)]
        if after is not None and not state_kept:
            notes.append(NOT_KEPT)
        if refused:
            notes.append(FULL.format(names=", ".join(item.row.filename for item in refused)))
        return build_result(self.code, outcome, kept, notes)

    def _finish(self, after: NewState | None) -> None:
        if after is not None and self.session is not None and self.session.alive:
            self.sessions.keep(self.ctx.thread.pk, self.session, state=after.state)
        self.end_turn()


def _keep(outputs: Iterable[OutputFile]) -> tuple[list[OutputFile], list[OutputFile]]:
    """Make files visible while the storage quota allows; return the kept and the refused."""
    kept, refused = [], []
    for output in outputs:
        try:
            storage.finalize(output.row)
        except StorageFull:
            storage.discard_in_transaction(output.row)
            refused.append(output)
        else:
            kept.append(output)
    return kept, refused


def describe_limits(outcome: CodeResult) -> list[str]:
    """Return messages about truncated and omitted outputs of a run."""
    messages = [LIMITS[limit] for limit in sorted(outcome.limits) if limit in LIMITS]
    return messages + [f"{item.name} stays in the session: {item.why}" for item in outcome.skipped]


def build_result(
    code: str, outcome: CodeResult, outputs: list[OutputFile], notes: list[str]
) -> ToolResult:
    """Return the output for the model, and the details for people and API clients."""
    pictures = [item.row for item in outputs if item.is_picture]
    files = [item.row for item in outputs if not item.is_picture]
    output: dict[str, Any] = {"logs": _cut(outcome.logs, LOG_CHARACTERS)}
    if outcome.value is not None:
        output["value"] = outcome.value
    if outcome.error is not None:
        output["error"] = _cut(outcome.error, ERROR_CHARACTERS)
    if files:
        output["files"] = [f"{FOLDER}/{row.filename}" for row in files]
    output["notes"] = [
        *([f"{len(pictures)} shown. {PICTURES}"] if pictures else []),
        *([FILES] if files else []),
        *notes,
    ]
    between = "\n" if outcome.value and outcome.logs and not outcome.logs.endswith("\n") else ""
    details = {
        "input": code,
        "logs": f"{outcome.logs}{between}{outcome.value or ''}",
        "error": outcome.error,
        "images": [row.pk for row in pictures],
        "files": [{"file_id": row.pk, "name": row.filename, "bytes": row.bytes} for row in files],
        "notes": notes,
    }
    return ToolResult(output=output, details=details)


def _cut(text: str, most: int) -> str:
    """Truncate a long text in the middle, because its end is often the most useful part."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}{CUT.format(size=len(text))}{text[-half:]}"


def record_code_session(ctx: ToolContext) -> None:
    """Record the usage of a new code session at the tenant's price.

    Call within the tenant's scope and a transaction.
    """
    price = Price.objects.filter(kind=CODE_SESSION).order_by("pk").first()
    Usage.objects.create(
        member_id=ctx.thread.member_id,
        run=ctx.run,
        call=ctx.call_id,
        model=CODE_SESSION,
        kind=CODE_SESSION,
        quantity=1,
        unit="session",
        price=price.price if price else None,
        currency=price.currency if price else "",
        price_source="tenant" if price else "",
    )
