"""Meter model calls: usage reported by the server, otherwise an estimate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from chat import ids
from chat.models import UsageOutcome
from chat.upstream.base import ModelRequest, ToolSpec, UsageReported
from chat.upstream.errors import UpstreamError

BYTES_PER_TOKEN = 4


@dataclass(frozen=True, kw_only=True)
class ModelCallUsage:
    """Token usage of one model call. `estimated` means that the server did not report it."""

    model: str
    usage: UsageReported
    outcome: str = UsageOutcome.USED
    estimated: bool = False
    call: str = field(default_factory=lambda: ids.new_id("up_"))


def estimate_text(size: int) -> int:
    """Estimate the tokens of `size` bytes of text, rounded up."""
    return -(-size // BYTES_PER_TOKEN)


def estimate_overhead(instructions: str | None, tools: Iterable[ToolSpec]) -> int:
    """Estimate the tokens of a prompt's instructions and tools."""
    size = len((instructions or "").encode())
    for tool in tools:
        size += len(tool.name) + len(tool.description.encode()) + len(orjson.dumps(tool.parameters))
    return size // BYTES_PER_TOKEN


@dataclass(kw_only=True, slots=True)
class CallMeter:
    """Meter of a model call in progress.

    `prompt_tokens` is the estimate for its messages, `size` the received bytes.
    """

    request: ModelRequest
    prompt_tokens: int
    size: int = 0
    _reported: UsageReported | None = None
    _size_at_report: int = 0

    @property
    def input_tokens(self) -> int:
        """Estimated tokens of the whole prompt."""
        request = self.request
        return self.prompt_tokens + estimate_overhead(request.instructions, request.tools)

    @property
    def output_tokens(self) -> int:
        """Estimated tokens received so far."""
        return estimate_text(self.size)

    def record_report(self, usage: UsageReported) -> None:
        """Store usage reported by the server; a later report replaces an earlier one."""
        self._reported, self._size_at_report = usage, self.size

    def measure_usage(self, outcome: str, *, is_whole: bool = False) -> ModelCallUsage:
        """Return the usage of the call: as reported, plus an estimate for output after the report.

        The last report of a complete answer covers all of it.
        """
        usage, model = self._reported, self.request.model
        if usage is None:
            usage = UsageReported(self.input_tokens, self.output_tokens)
            return ModelCallUsage(model=model, usage=usage, outcome=outcome, estimated=True)
        covered = is_whole or self.size == self._size_at_report
        if covered or usage.output_tokens >= self.output_tokens:
            return ModelCallUsage(model=model, usage=usage, outcome=outcome)
        usage = UsageReported(
            usage.input_tokens, self.output_tokens, usage.cached_tokens, usage.reasoning_tokens
        )
        return ModelCallUsage(model=model, usage=usage, outcome=outcome, estimated=True)

    def measure_failure(self, error: UpstreamError) -> ModelCallUsage:
        """Return the usage of a failed attempt: zero if the server never began to answer."""
        outcome = UsageOutcome.FAILED
        if self._reported is not None or error.accepted or error.after_first_content:
            return self.measure_usage(outcome)
        return ModelCallUsage(model=self.request.model, usage=UsageReported(0, 0), outcome=outcome)
