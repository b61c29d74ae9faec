"""A headless Chromium, and pages of one file that it opens."""

import os
import shutil

import pytest

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def chromium():
    executable = shutil.which("chromium")
    if executable is None:
        reason = "needs chromium on the PATH (Debian: apt install chromium)"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return executable


@pytest.fixture(scope="module")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Opens a page; in the end nothing may have gone wrong or left the page."""
    wrong, pages = [], []

    def run(path, width=1280, **options):
        page = browser.new_page(viewport={"width": width, "height": 900}, **options)
        pages.append(page)
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: None if is_local(request.url, path) else wrong.append(request.url))
        page.goto(path.as_uri())
        return page

    yield run
    for page in pages:
        page.close()
    assert wrong == []


def is_local(url, path):
    return url == path.as_uri() or url.startswith(("data:", "blob:"))
