"""Tools of the crash suite: one whose effects can be counted, one that kills its process."""

from __future__ import annotations

import os
import signal

from chat.tools.base import Effect, ToolContext
from chat.tools.registry import tool


@tool(effect=Effect.WRITE_ONCE, label="Note something")
async def note(ctx: ToolContext, words: str) -> str:
    """Write a line that stays, whatever becomes of the run.

    Args:
        words: What to write.
    """
    line = f"{ctx.call_id} {words}\n".encode()
    file = os.open(os.environ["CRASH_EFFECTS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, line)
    finally:
        os.close(file)
    return "Noted."


@tool(effect=Effect.READ, label="Kill the process")
async def die(ctx: ToolContext) -> str:
    """End the process that runs this, as a fault of its own would."""
    os.kill(os.getpid(), signal.SIGKILL)
    return "Not reached."
