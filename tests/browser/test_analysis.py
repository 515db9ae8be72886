"""From a table of sales to totals, a chart and a file, and on with the same variables."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect

from tests.browser.attaching import a_file, choose, let_use
from tests.browser.conftest import Visit
from tests.browser.steps import answers, ask, last_text
from tests.upstream.script import Answer, Call
from tests.upstream.server import ScriptedServer
from tests.world import World

SALES = "date,amount\n2024-12-01,5\n2025-01-03,10\n2025-01-09,7\n2025-02-11,20\n"
BY_MONTH = """\
import csv
with open("sales.csv") as file:
    rows = list(csv.DictReader(file))
totals = {}
for row in rows:
    month = row["date"][:7]
    totals[month] = totals.get(month, 0) + int(row["amount"])
print(totals)
chart("bar", [{"month": m, "total": t} for m, t in totals.items()], "month", "total")
with open("totals.csv", "w") as file:
    file.write("month,total\\n")
    for month, total in totals.items():
        file.write(f"{month},{total}\\n")
"""
ONLY_2025 = 'print({m: t for m, t in totals.items() if m.startswith("2025")})'


@pytest.fixture
def analyst(world: World, model: ScriptedServer) -> ScriptedServer:
    """A model that computes totals by month and links what it wrote."""
    let_use(world.acme, "code_interpreter")
    model.expect(Answer(calls=(running(BY_MONTH),)))
    model.expect(say=("Here: [totals](sandbox:/mnt/data/totals.csv).",))
    return model


def running(code: str) -> Call:
    return Call(name="code_interpreter", arguments=json.dumps({"code": code}))


def ask_for_totals(page: Page) -> None:
    choose(page, a_file("sales.csv", SALES))
    ask(page, "Totals by month, and a chart")
    expect(last_text(page)).to_have_text("Here: totals.")


def test_totals_a_chart_and_a_file_and_on_with_the_same_variables(
    world: World, analyst: ScriptedServer, visit: Visit
) -> None:
    page = visit(world.acme, "alice")
    ask_for_totals(page)
    chart = answers(page).last.locator(".pictures").get_by_role("img", name="chart")
    expect(chart).to_be_visible()
    assert chart.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    page.locator(".step summary", has_text="Ran code").click()
    expect(page.locator(".step-body .hljs-keyword").first).to_have_text("import")
    expect(page.locator(".step-body .result")).to_contain_text("'2025-01': 17")
    with page.expect_download() as download:
        page.get_by_role("link", name="totals", exact=True).click()
    assert download.value.suggested_filename == "totals.csv"
    assert download.value.path().read_text() == "month,total\n2024-12,5\n2025-01,17\n2025-02,20\n"
    analyst.expect(Answer(calls=(running(ONLY_2025),)))
    analyst.expect(say=("Only 2025.",))
    ask(page, "Now only 2025")
    expect(last_text(page)).to_have_text("Only 2025.")
    answers(page).last.locator(".step summary").click()
    result = answers(page).last.locator(".step-body .result")
    expect(result).to_have_text("{'2025-01': 17, '2025-02': 20}\n")


def test_a_chart_is_enlarged_and_there_after_a_reload(
    world: World, analyst: ScriptedServer, visit: Visit
) -> None:
    page = visit(world.acme, "alice")
    ask_for_totals(page)
    page.reload()
    page.locator(".pictures .picture-open").click()
    large = page.get_by_role("dialog").get_by_role("img")
    expect(large).to_be_visible()
    address = large.evaluate("image => image.src")
    page.keyboard.press("Escape")
    expect(large).to_be_hidden()
    expect(page.locator(".pictures .picture-open")).to_be_focused()
    headers = page.request.get(address, headers={"Sec-Fetch-Dest": "image"}).headers
    assert headers["content-type"] == "image/svg+xml"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "sandbox" in headers["content-security-policy"]
    opened = page.request.get(address, headers={"Sec-Fetch-Dest": "document"}).headers
    assert opened["content-type"] == "application/octet-stream"
    assert opened["content-disposition"].startswith("attachment")


def test_code_that_failed_says_what_went_wrong(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    let_use(world.acme, "code_interpreter")
    model.expect(Answer(calls=(running("1 / 0"),)))
    model.expect(say=("That did not work.",))
    page = visit(world.acme, "alice")
    ask(page, "Divide")
    expect(last_text(page)).to_have_text("That did not work.")
    page.locator(".step summary").click()
    expect(page.locator(".step-body .result[data-kind=code_error]")).to_contain_text(
        "ZeroDivisionError"
    )
