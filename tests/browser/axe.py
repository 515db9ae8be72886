"""What axe finds on a page."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

AXE = Path(__file__).with_name("axe.min.js").read_text()
# Waits for all animations but those that never end.
SETTLE = """Promise.allSettled(
  document.getAnimations()
    .filter((animation) => animation.playState === "running")
    .filter((animation) => animation.effect?.getComputedTiming().endTime < Infinity)
    .map((animation) => animation.finished)
)"""


def settle(page: Page) -> None:
    """Wait until nothing moves, except for spinners."""
    page.evaluate(f"{SETTLE}.then(() => null)")


def findings(page: Page) -> list[str]:
    """Return axe's findings, each as rule and element."""
    # The page's policy allows no injected script; a debugger's evaluation is not one.
    page.evaluate(AXE)
    # A colour in mid-transition has no contrast of its own.
    settle(page)
    result = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{found['id']}: {node['html'][:200]} {node['failureSummary']}"
        for found in result["violations"]
        for node in found["nodes"]
    ]
