"""The schedulers' pages in a real browser."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Locator, Page

WIDTH = 1600
WAIT_MS = 120_000


@contextmanager
def page_of(url: str, chromium: str, height: int = 900) -> Iterator[Page]:
    """The page, opened."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": height})
        page.set_default_timeout(WAIT_MS)
        try:
            page.goto(url)
            yield page
        finally:
            browser.close()


def in_sight(page: Page, element: Locator) -> None:
    """It is drawn, wholly within the picture, and nothing lies over its middle."""
    element.wait_for()
    # Graphs fly to their place; what still moves is no place to look at.
    element.evaluate(
        """async (one) => {
            const at = () => JSON.stringify(one.getBoundingClientRect());
            for (let last = "", same = 0; same < 5; ) {
                await new Promise((next) => setTimeout(next, 100));
                same = at() === last ? same + 1 : 0;
                last = at();
            }
        }"""
    )
    box = element.bounding_box()
    assert box is not None
    left, top, width, height = (box[key] for key in ("x", "y", "width", "height"))
    assert width > 0
    assert height > 0
    assert left >= 0
    assert top >= 0
    assert left + width <= page.viewport_size["width"]  # type: ignore[index]
    assert top + height <= page.viewport_size["height"]  # type: ignore[index]
    middle = [left + width / 2, top + height / 2]
    on_top = "(one, [x, y]) => one.contains(document.elementFromPoint(x, y))"
    assert element.evaluate(on_top, middle), "something covers it"


def take_picture(page: Page, path: Path) -> None:
    """Save what the page shows."""
    page.screenshot(path=path)
    assert path.read_bytes().startswith(b"\x89PNG")
