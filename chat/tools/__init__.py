"""Tools: the trust boundary between model output and tenant data.

Autodiscovery imports this package as the `tools` module of the chat app, so it imports the
built-in tools.
"""

from __future__ import annotations

from chat.tools import code_interpreter, file_search, search_thread

__all__ = ["code_interpreter", "file_search", "search_thread"]
