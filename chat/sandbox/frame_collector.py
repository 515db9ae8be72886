"""Validation and assembly of the frames that a session's process sends about a run."""

from __future__ import annotations

from chat.sandbox.base import (
    BadFile,
    CodeResult,
    Image,
    LimitHit,
    RunEnd,
    SandboxFile,
    SandboxLimits,
    SkippedFile,
    check_name,
)
from chat.sandbox.chart import read_chart
from chat.sandbox.drawing import draw
from chat.sandbox.inside import frames
from chat.storable_text import make_storable

MAX_ERROR_LENGTH = 20_000
PNG = b"\x89PNG\r\n\x1a\n"


class FrameCollector:
    """Collector of the frames of one run.

    `add_frame` raises FrameError for frames that a well-behaved process never sends.
    """

    def __init__(self, limits: SandboxLimits) -> None:
        self.done = False
        self._bounds = limits
        self._ended = RunEnd.CRASHED
        self._value: str | None = None
        self._error: str | None = None
        self._logs = bytearray()
        self._files: dict[str, bytes] = {}
        self._skipped: list[SkippedFile] = []
        self._images: list[Image] = []
        self._met: set[LimitHit] = set()

    def add_frame(self, head: frames.Head, body: bytes) -> None:
        """Add one frame.

        Raises:
            FrameError: the frame is invalid, or the run exceeds the limits.
        """
        match head.get("is"):
            case "log":
                self._logs += body
            case "file":
                self._take_file(head.get("name"), body)
            case "skipped":
                self._skip(head.get("name"), _get_text(head.get("why"), most=200) or "")
            case "image" if body.startswith(PNG) and len(body) <= self._bounds.image:
                self._images.append(Image(data=body, type="image/png"))
            case "chart":
                self._take_chart(head)
            case "done":
                self._take_end(head)
            case _:
                raise frames.FrameError("A frame of an unknown kind.")
        self._check_bounds()

    def end(self, ended: RunEnd, error: str) -> None:
        """Record how the run ended after its process has gone."""
        self._ended, self._error = ended, error

    def build_result(self, seconds: float) -> CodeResult:
        """Return the result of the run."""
        met = self._met | {
            LimitHit(end) for end in (RunEnd.TIME, RunEnd.MEMORY) if end is self._ended
        }
        logs = bytes(self._logs).decode(errors="replace")
        return CodeResult(
            ended=self._ended,
            seconds=seconds,
            logs=make_storable(logs, most=self._bounds.logs),
            value=self._value,
            error=self._error,
            files=tuple(SandboxFile(name=name, data=data) for name, data in self._files.items()),
            skipped=tuple(self._skipped),
            images=tuple(self._images),
            limits=frozenset(met),
        )

    def _take_file(self, name: object, body: bytes) -> None:
        try:
            check_name(name if isinstance(name, str) else "")
        except BadFile as error:
            self._met.add(LimitHit.FILES)
            self._skip(name, str(error))
        else:
            self._files[str(name)] = body

    def _skip(self, name: object, why: str) -> None:
        text = _get_text(name, most=100) or ""
        shown = "".join(sign if sign.isprintable() else "?" for sign in text)
        self._skipped.append(SkippedFile(name=shown, why=why))

    def _take_chart(self, head: frames.Head) -> None:
        try:
            chart = read_chart(head)
        except (ValueError, TypeError, KeyError) as error:
            raise frames.FrameError("A chart that cannot be drawn.") from error
        self._images.append(Image(data=draw(chart).encode(), type="image/svg+xml"))

    def _take_end(self, head: frames.Head) -> None:
        met = head.get("limits")
        try:
            self._ended = RunEnd(str(_get_text(head.get("ended"), most=20)))
            self._met |= {LimitHit(item) for item in (met if isinstance(met, list) else [])}
        except ValueError as problem:
            raise frames.FrameError("An unknown end or limit.") from problem
        if self._ended is RunEnd.CANCELLED:
            raise frames.FrameError("An end that a process cannot report itself.")
        self._value = _get_text(head.get("value"), most=self._bounds.value)
        self._error = _get_text(head.get("error"), most=MAX_ERROR_LENGTH)
        self.done = True

    def _check_bounds(self) -> None:
        size = sum(len(data) for data in self._files.values())
        if (
            len(self._logs) > self._bounds.logs
            or len(self._files) > self._bounds.files
            or size > self._bounds.all_files
            or len(self._skipped) > 2 * self._bounds.files
            or len(self._images) > self._bounds.images
        ):
            raise frames.FrameError("The run exceeds the limits.")


def _get_text(value: object, *, most: int) -> str | None:
    """Return a string cleaned for storage, or None for a value of another type."""
    return make_storable(value, most=most) if isinstance(value, str) else None
