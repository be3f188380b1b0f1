"""The report in a headless browser: its table sorts and filters, nothing fails, nothing is loaded."""

import shutil

import numpy as np
import pytest

import hotfit

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no browser is installed")

SIZES = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1280, "height": 900}}


@pytest.fixture(scope="module")
def fit():
    cube, exposure, _ = hotfit.simulate.cube("guide", shape=(100, 120), repeats=5, seed=7, odd=40)
    return hotfit.fit_cube(cube, exposure)


@pytest.fixture(scope="module")
def report(fit, tmp_path_factory):
    return fit.write(tmp_path_factory.mktemp("browser") / "out", report=True) / "report.html"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=SIZES)
def page(request, browser, report):
    """The report, opened; in the end nothing may have failed, and nothing been asked for but the file."""
    failures, requests = [], []
    page = browser.new_page(viewport=SIZES[request.param])
    page.on("console", lambda message: failures.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("request", lambda asked: requests.append(asked.url))
    page.goto(report.as_uri())
    yield page
    page.close()
    assert failures == []
    assert {url.partition(":")[0] for url in requests} <= {"file", "data"}
    assert sum(url.startswith("file") for url in requests) == 1


def column(page, name):
    """What the table shows in a column, from the top."""
    heads = page.locator("table.sortable th").all_inner_texts()
    index = [head.split()[0] for head in heads].index(name) + 1
    return page.locator(f"table.sortable tbody tr:not([hidden]) td:nth-child({index})").all_inner_texts()


@pytest.mark.parametrize("name", ["x", "rate", "misfit"])
def test_a_click_on_a_head_sorts_and_another_turns(page, name):
    head = page.locator("table.sortable th button", has_text=name).first
    orders = []
    for order in ("descending", "ascending"):
        head.click()
        texts = column(page, name)
        values = [float(text) for text in texts if text]
        assert texts[len(values) :] == [""] * (len(texts) - len(values))  # what is not known comes last
        assert len(values) > 20
        assert values == sorted(values, reverse=order == "descending")
        assert page.locator(f"table.sortable th[aria-sort={order}]").count() == 1
        orders.append(values)
    assert orders[0] == orders[1][::-1]


def test_words_sort_too(page):
    page.locator("table.sortable th button", has_text="reasons").click()
    found = column(page, "reasons")
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("reason", ["NONLINEAR", "TELEGRAPH", "UNRELIABLE_SLOPE"])
def test_the_filter_shows_the_pixels_of_a_reason(page, fit, reason):
    page.select_option("#reason", reason)
    wanted = int(np.count_nonzero(fit.mask & ((fit.dq & hotfit.DQ[reason]) != 0)))
    found = column(page, "reasons")
    assert len(found) == wanted > 0
    assert all(reason in text.split() for text in found)
    assert page.inner_text("#shown") == str(wanted)
    page.select_option("#reason", "")
    assert len(column(page, "reasons")) == int(fit.mask.sum())


def test_the_page_is_no_wider_than_the_window(page):
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    widths = page.evaluate(
        "[...document.querySelectorAll('figure svg')].map(e => e.getBoundingClientRect().width)"
    )
    assert len(widths) > 15
    assert min(widths) > 150
    assert max(widths) <= page.viewport_size["width"]


def test_ink_is_readable_in_the_dark_and_in_print(page):
    colour = "getComputedStyle(document.body).{}"
    found = {}
    for name, media in {
        "light": {"color_scheme": "light"},
        "dark": {"color_scheme": "dark"},
        "print": {"color_scheme": "dark", "media": "print"},
    }.items():
        page.emulate_media(**media)
        found[name] = [sum(rgb(page.evaluate(colour.format(of)))) for of in ("color", "backgroundColor")]
        ink = page.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill")
        assert sum(rgb(ink)) == found[name][0]
    assert found["light"][0] < 150
    assert found["light"][1] == 3 * 255
    assert found["dark"][0] > 600
    assert found["dark"][1] < 150
    assert found["print"] == [0, 3 * 255]


def rgb(text):
    return [int(part) for part in text[text.index("(") + 1 : -1].split(",")[:3]]
