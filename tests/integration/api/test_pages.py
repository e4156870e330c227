"""The pages as people get them: in a browser, at two widths, and without one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import httpx

PAGES = {
    "model": (
        "/",
        "/?q=nothing",
        "/?sector=restaurant&purpose=pretraining",
        "/datasets/kitchen-pick",
        "/datasets/kitchen-pick?purpose=research",
    ),
    "partner": ("/partner", "/partner?state=quarantined", "/partner?state=failed", "/"),
    "steward": ("/", "/datasets/secret", "/partner"),
}
HTML = {"Accept": "text/html"}


def test_a_visitor_is_sent_to_the_log_in(client: httpx.Client) -> None:
    answer = client.get("/datasets/kitchen-pick", headers=HTML)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=/datasets/kitchen-pick"
    assert "<h1>Log in</h1>" in client.get(answer.headers["location"]).text


def test_what_contributors_write_is_escaped(call: Any) -> None:
    for path in ("/", "/datasets/kitchen-pick"):
        text = call("model", "GET", path, headers=HTML).text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
        assert "<script" not in text
        assert 'lang="ja"' in text
        assert not re.search(r'\sstyle="|\son\w+="', text)


def test_a_dataset_page_shows_what_is_in_the_release(call: Any) -> None:
    text = call("model", "GET", "/datasets/kitchen-pick", headers=HTML).text
    for shown in (
        "厨房ピッキング",
        "joint positions",
        "0.0312",
        "<polyline",
        "Allowed:",
        "preview?purpose",
    ):
        assert shown in text
    assert "No reidentification" in text


def test_a_refused_purpose_hides_the_contents(call: Any) -> None:
    text = call("model", "GET", "/datasets/kitchen-pick?purpose=research", headers=HTML).text
    assert "the terms do not name this purpose" in text
    for hidden in ("joint positions", "0.0312", "<polyline", "preview?purpose"):
        assert hidden not in text


def test_errors_are_pages_for_browsers_and_problems_for_machines(call: Any) -> None:
    page = call("model", "GET", "/datasets/secret", headers=HTML)
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "No such object" in page.text
    unknown = call("model", "GET", "/datasets/never", headers=HTML)
    assert unknown.text == page.text
    machine = call("model", "GET", "/datasets/secret")
    assert machine.headers["content-type"] == "application/problem+json"
    forbidden = call("model", "GET", "/partner", headers=HTML)
    assert forbidden.status_code == 403
    assert "your role does not allow it" in forbidden.text


def test_the_partner_page_spells_out_reasons_and_uses(call: Any) -> None:
    call("model", "GET", "/v1/datasets/kitchen-pick/releases/2/files/card.md?purpose=pretraining")
    text = call("partner", "GET", "/partner", headers=HTML).text
    for shown in ("Why it was refused", "Norm error", "0.31", "≤ 0.01", "/imu", "Model Team"):
        assert shown in text
    assert "rival" not in text.lower()


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_in_a_browser(url: str, world: Any, chromium: str, width: int) -> None:
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    foreign: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for who, paths in PAGES.items():
            context = browser.new_context(viewport={"width": width, "height": 850})
            page = context.new_page()
            page.on(
                "console",
                lambda message: (
                    complaints.append(message.text)
                    if message.type in {"error", "warning"}
                    else None
                ),
            )
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on(
                "request",
                lambda request: (
                    None if request.url.startswith(url) else foreign.append(request.url)
                ),
            )
            page.goto(url + paths[0])
            page.fill("#key", world.keys[who])
            page.click("main button")
            for path in paths:
                page.goto(url + path)
                assert page.locator("h1").count() == 1, path
                spill = (
                    "document.documentElement.scrollWidth - document.documentElement.clientWidth"
                )
                assert page.evaluate(spill) == 0, (path, width)
                unnamed = page.evaluate(
                    "[...document.querySelectorAll('input:not([type=hidden]),select,button,img')]"
                    ".filter(e => !(e.labels?.length || e.textContent || e.hasAttribute('alt')))"
                    ".map(e => e.outerHTML)"
                )
                assert unnamed == [], path
            page.click("header button")
            assert page.url.startswith(f"{url}/login")
            context.close()
        browser.close()
    assert complaints == []
    assert foreign == []
