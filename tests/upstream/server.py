"""The bundled test upstream: a real HTTP server that speaks both wire formats as it is told.

In a test: `server.expect(say=("Hel", "lo"))` once per request to come, and `assert_done()` at the
end fails on requests nobody expected and on answers nobody fetched. As a process of its own:

    python -m tests.upstream.server --port 9009 [--dialect llamacpp] [--free --rate 50 --tokens 200]

    POST   /control/script    {"answers": [{...}], "key"?: text, "repeat"?: bool, "dialect"?: name}
    POST   /control/fallback  {...}  the answer to every request nothing else is set for
    POST   /control/free      {"rate", "tokens", "first"}  paced tokens to every request
    GET    /control/requests  {"requests": [{path, body, disconnected}], "problems": [], "left": n}
    POST   /control/reset

Answers with a key are given to requests whose last user message contains it or whose model is it,
so that several chats can go on at once; with `repeat` the last of them is given again and again.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from aiohttp import web

from tests.clock import WAIT_SECONDS
from tests.upstream.reply import send_answer, send_free_run
from tests.upstream.script import Answer, Dialect, FreeRun, Wire
from tests.upstream.vectors import embeddings_answer
from tests.upstream.wire import output_items, whole

MODELS = ("test-model", "test-model-2")
PATHS: dict[str, Wire] = {"/v1/responses": "responses", "/v1/chat/completions": "chat"}


@dataclass
class Received:
    """A request as it came.

    `left` is set when the client closed before the answer's end. A test sets `read` when its
    client has read what comes before a reset, or before the rest of a held answer. `chunks` counts
    what was sent of `answer`, `whole` is set once all of it was.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    peer: tuple[str, int]
    left: threading.Event = field(default_factory=threading.Event)
    read: threading.Event = field(default_factory=threading.Event)
    answer: Answer | None = None
    chunks: int = 0
    whole: bool = False

    def count_chunk(self) -> None:
        """Note that another chunk of the answer was sent."""
        self.chunks += 1


@dataclass
class _Keyed:
    answers: deque[Answer]
    repeat: bool


class ScriptedServer:
    """Start with `start()` in a thread of its own, or mount `app()` anywhere."""

    def __init__(self, *, dialect: Dialect = "openai") -> None:
        self.port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._first_dialect = dialect
        self._came = threading.Condition()
        self.reset()

    def reset(self) -> None:
        self.dialect: Dialect = self._first_dialect
        self.requests: list[Received] = []
        self.problems: list[str] = []
        self.conversations: dict[str, list[Any]] = {}
        self.fallback: Answer | None = None
        self.free: FreeRun | None = None
        self._queue: deque[Answer] = deque()
        self._keyed: dict[str, _Keyed] = {}

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def expect(self, answer: Answer | None = None, **fields: Any) -> None:
        """Set the answer to the next request: an Answer, or its fields."""
        self._queue.append(answer or Answer.from_json(fields))

    def when(self, key: str, *answers: Answer, repeat: bool = False) -> None:
        """Set the answers to requests whose last user message contains `key` (or model is it)."""
        self._keyed[key] = _Keyed(deque(answers), repeat)

    def left(self) -> int:
        """How many answers were set and not fetched."""
        return len(self._queue) + sum(len(k.answers) for k in self._keyed.values() if not k.repeat)

    def assert_done(self) -> None:
        assert not self.problems, self.problems
        assert not self.left(), f"{self.left()} expected requests did not come"

    def model_requests(self) -> list[Received]:
        return [r for r in self.requests if r.path in PATHS]

    def go_on(self) -> None:
        """Send what is held of the answers so far."""
        for received in self.requests:
            received.read.set()

    def wait_for_requests(self, count: int = 1) -> None:
        """Block until that many model requests have come."""
        with self._came:
            came = self._came.wait_for(lambda: len(self.model_requests()) >= count, WAIT_SECONDS)
        assert came, f"{count} model requests did not come in {WAIT_SECONDS:g} s"

    def was_left(self, number: int = 0) -> bool:
        """Wait until the client closes that request; tell whether it does."""
        return self.model_requests()[number].left.wait(WAIT_SECONDS)

    def start(self, port: int = 0) -> None:
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(port, started), daemon=True)
        self._thread.start()
        if not started.wait(WAIT_SECONDS):
            raise RuntimeError("The test upstream did not start.")

    def stop(self) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(WAIT_SECONDS)

    def _serve(self, port: int, started: threading.Event) -> None:
        loop = asyncio.new_event_loop()
        self._loop = loop
        runner = web.AppRunner(self.app(), handler_cancellation=True, shutdown_timeout=0.2)
        try:
            loop.run_until_complete(runner.setup())
            site = web.TCPSite(runner, "127.0.0.1", port)
            loop.run_until_complete(site.start())
            self.port = runner.addresses[0][1]
            started.set()
            loop.run_forever()
            loop.run_until_complete(runner.cleanup())
        finally:
            loop.close()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        for path in PATHS:
            app.router.add_post(path, self._model_request)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_post("/v1/conversations", self._create_conversation)
        app.router.add_get("/v1/conversations/{id}/items", self._conversation_items)
        app.router.add_delete("/v1/conversations/{id}", self._delete_conversation)
        app.router.add_post("/control/script", self._control_script)
        app.router.add_post("/control/fallback", self._control_fallback)
        app.router.add_post("/control/free", self._control_free)
        app.router.add_get("/control/requests", self._control_requests)
        app.router.add_post("/control/reset", self._control_reset)
        return app

    async def _record(self, request: web.Request) -> Received:
        body = await request.json() if request.can_read_body else None
        headers = {name.lower(): value for name, value in request.headers.items()}
        peer = request.transport.get_extra_info("peername") if request.transport else ("", 0)
        received = Received(request.method, request.path, headers, body, tuple(peer))
        with self._came:
            self.requests.append(received)
            self._came.notify_all()
        return received

    async def _model_request(self, request: web.Request) -> web.StreamResponse:
        if self.free is not None:
            body = await request.json()
            return await send_free_run(request, self.free, wire=PATHS[request.path], body=body)
        received = await self._record(request)
        wire, body = PATHS[request.path], received.body
        refused = self._refusal(wire, body)
        if refused is not None:
            return refused
        answer = self._answer_to(received)
        if answer is None:
            self.problems.append(f"unexpected {request.path}: {last_user_text(body)!r}")
            return _error(400, "The test upstream did not expect this request.")
        answer = received.answer = answer.said_to(body)
        try:
            if not body.get("stream") and answer.status == 200:
                return web.json_response(whole(answer, wire=wire, model=body["model"]))
            kept = self._keep(body, answer)
            response = await send_answer(
                request,
                answer,
                wire=wire,
                dialect=self.dialect,
                model=body["model"],
                kept=kept,
                read=received.read,
                on_chunk=received.count_chunk,
            )
            received.whole = True
            return response
        except (asyncio.CancelledError, ConnectionError):
            received.left.set()
            raise

    def _answer_to(self, received: Received) -> Answer | None:
        text, body = last_user_text(received.body), received.body
        for key, keyed in self._keyed.items():
            if (key in text or key == body.get("model")) and keyed.answers:
                last = keyed.repeat and len(keyed.answers) == 1
                return keyed.answers[0] if last else keyed.answers.popleft()
        answer = self._queue.popleft() if self._queue else self.fallback
        if answer is not None:
            if answer.expect_path and answer.expect_path != received.path:
                self.problems.append(f"{received.path} came, not {answer.expect_path}")
            if answer.expect_text and answer.expect_text not in text:
                self.problems.append(f"{text!r} came, not {answer.expect_text!r}")
        return answer

    def _refusal(self, wire: Wire, body: dict[str, Any]) -> web.Response | None:
        """What the server of this dialect answers before it looks at the prompt."""
        if wire == "responses":
            if self.dialect == "gemini":
                return _error(404, "Not found.")
            if self.dialect == "llamacpp" and "previous_response_id" in body:
                return _error(400, "llama.cpp does not support 'previous_response_id'.")
            if self.dialect == "ollama" and body.get("store", True):
                return _error(400, "store is not supported.")
            kept = body.get("conversation")
            if kept and self.dialect == "openai" and kept not in self.conversations:
                return _error(404, f"Conversation with id '{kept}' not found.")
        return None

    def _keep(self, body: dict[str, Any], answer: Answer) -> str | None:
        kept = body.get("conversation")
        if kept is None or kept not in self.conversations:
            return None
        self.conversations[kept] += [*body["input"], *output_items(answer)]
        return str(kept)

    async def _embeddings(self, request: web.Request) -> web.Response:
        return web.json_response(embeddings_answer(await request.json()))

    async def _models(self, request: web.Request) -> web.Response:
        await self._record(request)
        data = [{"id": name, "object": "model"} for name in MODELS]
        return web.json_response({"object": "list", "data": data})

    async def _create_conversation(self, request: web.Request) -> web.Response:
        await self._record(request)
        if self.dialect != "openai":
            return _error(404, "Not found.")
        name = f"conv_{uuid4().hex}"
        self.conversations[name] = []
        return web.json_response({"id": name, "object": "conversation"})

    async def _conversation_items(self, request: web.Request) -> web.Response:
        items = self.conversations.get(request.match_info["id"])
        return _error(404, "Not found.") if items is None else web.json_response({"data": items})

    async def _delete_conversation(self, request: web.Request) -> web.Response:
        await self._record(request)
        name = request.match_info["id"]
        if self.conversations.pop(name, None) is None:
            return _error(404, f"Conversation with id '{name}' not found.")
        return web.json_response({"id": name, "object": "conversation.deleted", "deleted": True})

    async def _control_script(self, request: web.Request) -> web.Response:
        given = await request.json()
        try:
            answers = [Answer.from_json(value) for value in given.get("answers", [])]
        except (TypeError, ValueError) as error:
            return _error(400, str(error))
        if "dialect" in given:
            self.dialect = given["dialect"]
        if key := given.get("key"):
            self.when(key, *answers, repeat=bool(given.get("repeat")))
        else:
            self._queue.extend(answers)
        return web.json_response({"left": self.left()})

    async def _control_fallback(self, request: web.Request) -> web.Response:
        self.fallback = Answer.from_json(await request.json())
        return web.json_response({})

    async def _control_free(self, request: web.Request) -> web.Response:
        self.free = FreeRun(**await request.json())
        return web.json_response({})

    async def _control_requests(self, _request: web.Request) -> web.Response:
        seen = [
            {"method": r.method, "path": r.path, "body": r.body, "disconnected": r.left.is_set()}
            for r in self.requests
        ]
        found = {"requests": seen, "problems": self.problems, "left": self.left()}
        return web.json_response(found)

    async def _control_reset(self, _request: web.Request) -> web.Response:
        self.reset()
        return web.json_response({})


def last_user_text(body: dict[str, Any]) -> str:
    """The text of the last user message, in either wire format."""
    for item in reversed(body.get("input") or body.get("messages") or []):
        if isinstance(item, dict) and item.get("role") == "user":
            content = item.get("content") or ""
            if isinstance(content, str):
                return content
            return "".join(part.get("text", "") for part in content)
    return ""


def _error(status: int, message: str) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return web.json_response({"error": error}, status=status)


def main() -> None:
    parser = argparse.ArgumentParser(description="The test upstream as a process of its own.")
    parser.add_argument("--port", type=int, default=9009)
    parser.add_argument("--dialect", default="openai")
    parser.add_argument("--free", action="store_true")
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--tokens", type=int, default=200)
    given = parser.parse_args()
    server = ScriptedServer(dialect=given.dialect)
    if given.free:
        server.free = FreeRun(rate=given.rate, tokens=given.tokens)
    app = server.app()
    web.run_app(app, host="127.0.0.1", port=given.port, print=None, handler_cancellation=True)


if __name__ == "__main__":
    main()
