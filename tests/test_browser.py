"""The report in a headless browser: its table sorts and filters, nothing fails, nothing is loaded."""

import shutil
from contextlib import contextmanager

import numpy as np
import pytest

import hotfit
from hotfit.focalplane import side_by_side
from hotfit.overview import write_overview

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
    """The report, opened."""
    with opened(browser, report, SIZES[request.param]) as page:
        yield page


@pytest.fixture(params=SIZES)
def plane_page(request, browser, fit, tmp_path):
    """The report of a focal plane, opened."""
    facts = fit.summary()
    rates = {f"D{number}": number * facts["median_rate"] for number in (1, 1.05, 0.95, 1.02, 0.98, 1.01, 9)}
    plane = side_by_side({name: {**facts, "median_rate": rate} for name, rate in rates.items()})
    write_overview(plane, tmp_path / "report.html", "report.html")
    with opened(browser, tmp_path / "report.html", SIZES[request.param]) as page:
        yield page


@contextmanager
def opened(browser, report, size):
    """Open a page; in the end nothing may have failed, and nothing been asked for but the file."""
    failures, requests = [], []
    page = browser.new_page(viewport=size)
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


# --- the report of a focal plane


def test_detectors_sort_and_lead_to_their_reports(plane_page):
    head = plane_page.locator("table.sortable th button", has_text="dark current")
    assert column(plane_page, "odd")[-1] == "dark current"
    head.click()
    values = [float(text) for text in column(plane_page, "dark")]
    assert len(values) == 7
    assert values == sorted(values, reverse=True)
    assert column(plane_page, "odd") == ["dark current", *[""] * 6]
    link = plane_page.locator("table.sortable a").first
    assert (link.inner_text(), link.get_attribute("href")) == ("D9", "D9/report.html")


def test_the_page_of_detectors_fits_the_window(plane_page):
    assert plane_page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert plane_page.locator("figure svg").count() == 2
    assert plane_page.locator("li").all_inner_texts()[0].startswith("D9 is odd: dark current ")
