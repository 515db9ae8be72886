"""Which files the chat page loads, and how static files are named."""

from __future__ import annotations

from whitenoise.storage import CompressedManifestStaticFilesStorage

STYLE_SHEETS = (
    "chat/frame.css",
    "chat/side.css",
    "chat/transcript.css",
    "chat/prose.css",
    "chat/composer.css",
    "chat/files.css",
    "chat/sources.css",
)

# Fetched side by side instead of one import after the other.
MODULES = tuple(
    f"chat/{name}.js"
    for name in (
        "account",
        "announce",
        "answer",
        "appearance",
        "approvals",
        "assistants",
        "attachments",
        "banner",
        "calls",
        "citations",
        "composer",
        "conversation",
        "copy",
        "days",
        "decorate",
        "dialogs",
        "dom",
        "drafts",
        "drawer",
        "drop",
        "facts",
        "files",
        "grammar",
        "header",
        "highlight",
        "http",
        "made",
        "markdown",
        "math",
        "menu",
        "outbox",
        "own",
        "page",
        "page-data",
        "passage",
        "pictures",
        "plain",
        "problems",
        "queue",
        "readers",
        "scroll",
        "sender",
        "shortcuts",
        "socket",
        "source",
        "steps",
        "storage",
        "subscription",
        "threads",
        "toast",
        "transcript",
        "unattended",
        "vendor/markdown",
        "welcome",
    )
)


class ModuleStorage(CompressedManifestStaticFilesStorage):
    """Hashed, compressed names; imports between modules name the hashed files too."""

    support_js_module_import_aggregation = True
    # One pass per level of imports; Django's 5 are fewer than the page has.
    max_post_process_passes = 15
