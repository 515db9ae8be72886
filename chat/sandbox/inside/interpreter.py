"""Interpreter that runs successive pieces of code in one namespace."""

from __future__ import annotations

import ast
import io
import linecache
import signal
import sys
import time
import traceback
import types
import warnings
from types import CodeType, FrameType
from typing import Any

from chat.sandbox.inside.channel import Log
from chat.sandbox.inside.errors import catch_exception

DEFINITION_NODES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
MAX_ERROR_LENGTH = 16 * 1024
# Time to render figures after a run that used all of its time.
DRAWING_SECONDS = 4


class CodeTimeout(BaseException):
    """Timeout of the running code; a BaseException, so that `except Exception` misses it."""


class CodeRun:
    """The inputs and results of one run."""

    def __init__(self, log: Log, *, deadline: float, longest_value: int) -> None:
        self.log = log
        self.deadline = deadline
        self.longest_value = longest_value
        self.ended = "finished"
        self.value: str | None = None
        self.error: str | None = None
        self.pictures: list[bytes] = []


class Interpreter:
    """The namespace, and the source of the imports and definitions in it."""

    def __init__(self) -> None:
        self.module = types.ModuleType("__main__")
        self.definitions: dict[str, str] = {}
        self._count = 0
        sys.modules["__main__"] = self.module
        signal.signal(signal.SIGALRM, _stop)
        warnings.filterwarnings("ignore", message=".*non-interactive.*")

    def run(self, code: str, run: CodeRun) -> None:
        """Run the code; exceptions are stored in `run`."""
        self._count += 1
        name = f"<code {self._count}>"
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        sys.stdout, sys.stderr = run.log, run.log
        signal.setitimer(signal.ITIMER_REAL, max(0.01, run.deadline - time.monotonic()))
        error = catch_exception(lambda: self._execute(code, name, run))
        signal.setitimer(signal.ITIMER_REAL, 0)
        plots = sys.modules.get("matplotlib.pyplot")
        if plots is not None:
            signal.setitimer(
                signal.ITIMER_REAL, max(DRAWING_SECONDS, run.deadline - time.monotonic())
            )
            error = error or catch_exception(lambda: _draw(plots, run))
            signal.setitimer(signal.ITIMER_REAL, 0)
        if error is not None:
            run.ended, run.error = _describe_error(error, name)

    def _execute(self, code: str, name: str, run: CodeRun) -> None:
        tree = ast.parse(code, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        try:
            exec(compile(tree, name, "exec"), self.module.__dict__)  # nosec B102
        finally:
            self._remember(tree, code)
        if not isinstance(last, ast.Expr):
            return
        value = eval(_compile_expression(last, name), self.module.__dict__)  # nosec B307
        run.value = None if value is None else repr(value)[: run.longest_value]

    def _remember(self, tree: ast.Module, code: str) -> None:
        for node in tree.body:
            source = ast.get_source_segment(code, node) or ""
            if isinstance(node, ast.Import | ast.ImportFrom):
                self.definitions[source] = source
            elif isinstance(node, DEFINITION_NODES) and node.name in self.module.__dict__:
                self.definitions[node.name] = source


def _draw(plots: Any, run: CodeRun) -> None:
    for number in plots.get_fignums():
        picture = io.BytesIO()
        plots.figure(number).savefig(picture, format="png", dpi=110, bbox_inches="tight")
        run.pictures.append(picture.getvalue())
    plots.close("all")


def _stop(number: int, frame: FrameType | None) -> None:
    raise CodeTimeout


def _compile_expression(node: ast.Expr, name: str) -> CodeType:
    return compile(ast.Expression(node.value), name, "eval")


def _describe_error(error: BaseException, name: str) -> tuple[str, str]:
    if isinstance(error, CodeTimeout):
        return "time", "The code timed out and was stopped. Its variables keep their last values."
    ended = "memory" if isinstance(error, MemoryError) else "raised"
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != name:
        trace = trace.tb_next
    lines = traceback.format_exception(type(error), error, trace)
    text = "".join(lines)
    if len(text) > MAX_ERROR_LENGTH:
        text = f"{text[: MAX_ERROR_LENGTH // 2]}\n...\n{text[-MAX_ERROR_LENGTH // 2 :]}"
    return ended, text
