"""report.html: one file, whole HTML, nothing from outside, and what it says is what the fit says."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

import hotfit
from hotfit import cli, drawing
from hotfit.errors import HotfitError
from hotfit.flags import DQ

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Elements, texts and rows of a page; fails where elements are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.attributes, self.texts = [], [], [], []
        self.figures, self.captions, self.rows = 0, [], 0
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.figures += tag == "figure"
        self.rows += tag == "tr"

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.texts.append(data)
            if self.open[-1:] == ["figcaption"]:
                self.captions.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The result of the command line on files, with its report, and the fit."""
    folder = tmp_path_factory.mktemp("report")
    hotfit.simulate.write(folder / "darks", "guide", shape=(120, 90), repeats=4, seed=5, odd=30)
    arguments = [
        str(folder / "darks"),
        "-o",
        str(folder / "out"),
        "-q",
        "--report",
        "--export",
        "ds9",
        "--export",
        "siril",
    ]
    assert cli.main(arguments) == 0
    return folder / "out", hotfit.read(folder / "out")


@pytest.fixture(scope="module")
def page(made):
    return Page((made[0] / "report.html").read_text(encoding="utf-8"))


def test_the_command_line_writes_what_is_asked_for(made):
    names = {path.name for path in made[0].iterdir()}
    assert names >= {"report.html", "bad_pixels.lst", "bad_pixels.reg", "dark_current.fits"}


def test_nothing_comes_from_outside(page):
    for tag, name, value in page.attributes:
        if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            assert value.startswith(("#", "data:")), (tag, name, value)
        assert not (value or "").strip().startswith(("http:", "https:", "//")) or name.startswith("xmlns")
    assert "link" not in {tag for tag, _, _ in page.attributes}


def test_no_name_occurs_twice_and_all_that_are_used_exist(made, page):
    assert len(page.ids) == len(set(page.ids))
    text = (made[0] / "report.html").read_text(encoding="utf-8")
    used = set(re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', text))
    assert used
    assert {one or other for one, other in used} <= set(page.ids)


def test_every_picture_has_a_caption(page):
    assert page.figures > 15
    assert len(page.captions) == page.figures
    assert min(map(len, page.captions)) > 20
    assert "Not made" not in page.text


def test_figures_in_words_are_those_of_the_fit(made, page):
    fit = made[1]
    facts = fit.summary()
    assert f"{facts['masked']} of {facts['pixels']} pixels" in page.text
    assert f"{facts['median_rate']:.3g} electron/s" in page.text
    assert f"{facts['flags']['HOT']} pixels are HOT" in page.text
    for flag in DQ:
        if flag is not DQ.DO_NOT_USE:
            assert f"{flag.name} {facts['flags'][flag.name]} " in page.text
    for name in fit.frames["file"]:
        assert name in page.text


def test_the_table_holds_the_masked_pixels(made):
    text = (made[0] / "report.html").read_text(encoding="utf-8")
    rows = re.findall(r"<tr data-reasons='([^']*)'><td>(\d+)</td><td>(\d+)</td>", text)
    fit = made[1]
    assert {(int(y), int(x)) for _, x, y in rows} == set(zip(*map(list, np.nonzero(fit.mask)), strict=True))
    for reasons, x, y in rows:
        assert reasons.split() == [name for name in fit.rules.bad if fit.dq[int(y), int(x)] & DQ[name]]


def test_pixels_of_every_reason_are_shown(made, page):
    fit = made[1]
    shown = [re.match(r"x = (\d+), y = (\d+): (.*)", caption) for caption in page.captions]
    shown = {(int(found[2]), int(found[1])): found[3] for found in shown if found}
    worst = np.unravel_index(np.argmax(np.where(fit.mask, fit.misfit, 0)), fit.dq.shape)
    assert "NONLINEAR" in shown[tuple(map(int, worst))]
    for name in fit.rules.bad:
        assert any(name in text for text in shown.values())
    assert any(text.endswith("No flag.") for text in shown.values())
    assert any("HOT" in text and not fit.mask[place] for place, text in shown.items())
    assert not any("nan" in text for text in shown.values())


def test_ink_is_that_of_the_page(made):
    text = (made[0] / "report.html").read_text(encoding="utf-8")
    assert drawing.INK not in text
    assert text.count("currentColor") > 100
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_the_same_fit_makes_the_same_report(made, tmp_path):
    again = made[1].write(tmp_path / "again", report=True)
    assert (again / "report.html").read_bytes() == (made[0] / "report.html").read_bytes()


def test_words_of_others_are_no_html(tmp_path):
    cube, exposure, _ = hotfit.simulate.cube("guide", shape=(30, 40), repeats=3, seed=1)
    fit = hotfit.fit_cube(cube, exposure)
    frames = fit.frames.copy()
    frames["file"] = [f"<script>alert({i})</script>&.fits" for i in range(len(frames))]
    named = replace(fit, frames=frames, notes=("a <b> & 'c'",))
    text = (named.write(tmp_path / "out", report=True) / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "alert" in page.text
    assert "<b>" not in text
    assert text.count("<script>") == 1


@pytest.mark.parametrize(
    ("exposure", "absent"),
    [
        (
            [0, 0, 0, 60, 60, 60],
            ["do not tell their time", "do not tell their temperature", "all darks are of 60 s"],
        ),
        ([10, 60], ["nothing was tested"]),
    ],
)
def test_pictures_that_cannot_be_made_say_why(exposure, absent, tmp_path):
    exposure = np.array(exposure, float)
    cube = np.random.default_rng(1).normal(1000, 5, (exposure.size, 30, 40)) + exposure[:, None, None]
    out = hotfit.fit_cube(cube.astype(np.float32), exposure).write(tmp_path / "out", report=True)
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    for reason in absent:
        assert f"Not made: {reason}" in page.text.replace("the headers of the frames ", "")


def test_a_result_without_samples_has_a_report(made, tmp_path):
    old = replace(made[1], curves=None)
    page = Page((old.write(tmp_path / "out", report=True) / "report.html").read_text(encoding="utf-8"))
    assert "kept no samples" in page.text
    assert page.figures > 5


def test_a_map_without_any_rate_has_a_report(made, tmp_path):
    fit = made[1]
    none = replace(fit, rate=np.full_like(fit.rate, np.nan), hot_limit=np.nan)
    Page((none.write(tmp_path / "out", report=True) / "report.html").read_text(encoding="utf-8"))


def test_without_matplotlib_nothing_is_fitted(made, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(HotfitError, match="matplotlib"):
        made[1].write(tmp_path / "out", report=True)
    assert cli.main([str(made[0].parent / "darks"), "-o", str(tmp_path / "out"), "--report"]) == 1
    assert "pip install 'hotfit[report]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_program_is_wrong_usage(made, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([str(made[0].parent / "darks"), "-o", str(tmp_path / "out"), "--export", "iris"])
    assert caught.value.code == 2
    assert "choose from siril, ds9" in capsys.readouterr().err


def test_a_report_can_be_replaced(made, tmp_path):
    made[1].write(tmp_path / "out", report=True)
    made[1].write(tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "report.html").exists()
