"""Detectors side by side: which of them is odd and which is not, summary and report, sets apart."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from astropy.io import fits
from mosaics import contents, left_in, write_cameras, write_mosaic

import hotfit
from hotfit import cli, focalplane, planewords, simulate
from hotfit.detectors import detectors, set_name
from hotfit.errors import HotfitError
from hotfit.overview import write_overview

WARM, BAD, NOISY = "C2", "C4", "C6"


def summary_of(seed, shape=(100, 120), odd=5, **changes):
    cube, exposure, _ = simulate.cube("guide", shape=shape, repeats=4, seed=seed, odd=odd, **changes)
    return hotfit.fit_cube(cube, exposure, gain=simulate.GUIDE.gain).summary()


@pytest.fixture(scope="module")
def alike():
    """Summaries of detectors of one kind, of which none is odd."""
    return {f"C{seed}": summary_of(seed) for seed in range(8)}


@pytest.fixture(scope="module")
def unlike(alike):
    """The same, but one is warm, one has five times as many bad pixels, and one has more read noise."""
    camera = simulate.GUIDE
    return {
        **alike,
        WARM: summary_of(2, median_rate=3 * camera.median_rate),
        BAD: summary_of(4, odd=30),
        NOISY: summary_of(6, read_noise=2 * camera.read_noise),
    }


# --- the odd ones


def test_none_is_odd_among_detectors_of_one_kind(alike):
    plane = focalplane.side_by_side(alike)
    assert plane["odd"] == []
    assert list(planewords.odd_in_words(plane)) == [
        "no detector is odd: none is more than 5 robust sigmas from the median"
    ]
    rates = [facts["median_rate"] for facts in alike.values()]
    found = plane["medians"]["median_rate"]
    assert found == {"value": pytest.approx(np.median(rates)), "unit": "electron/s", "detectors": 8}


def test_the_odd_ones_are_named_with_what_is_odd(unlike):
    plane = focalplane.side_by_side(unlike)
    found = {}
    for one in plane["odd"]:
        found.setdefault(one["detector"], {})[one["quantity"]] = one["sigmas"]
    assert set(found) == {WARM, BAD, NOISY}
    assert set(found[WARM]) <= {"median_rate", "HOT"}
    assert found[WARM]["median_rate"] > 5
    assert found[BAD]["masked"] > 5
    assert {"TELEGRAPH", "NONLINEAR"} & set(found[BAD])
    assert found[NOISY]["read_noise"] > 5
    assert "median_rate" not in found[BAD] | found[NOISY]
    sigmas = [abs(one["sigmas"]) for one in plane["odd"]]
    assert sigmas == sorted(sigmas, reverse=True)
    words = " ".join(planewords.odd_in_words(plane))
    assert f"{WARM} is odd: dark current " in words
    assert re.search(rf"{BAD} is odd: .*masked pixels [\d.]+ %, [\d.]+ sigmas above the median, ", words)


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "-"), (65535.0, "65535 adu"), (9.99543, "9.995 adu"), (-12345.6, "-12346 adu")],
)
def test_figures_in_words(value, words):
    assert planewords.figure(value, "adu") == words


@pytest.mark.parametrize("factor", [0.97, 1.03])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_sigma_is_spread_floor_and_error(alike, factor, side):
    own = alike["C0"]
    rates = 0.04 + 0.002 * np.arange(-3.5, 4)
    spread = 1.4826 * 0.004 * (1 + 31 * 8**-1.3)  # distances are 0.001, 0.003, 0.005 and 0.007, twice each
    edge = 5 * np.sqrt(spread**2 + (0.05 * 0.04) ** 2 + (0.1 * own["median_rate_error"]) ** 2)
    rates[0 if side < 0 else -1] = 0.04 + side * factor * edge
    odd = focalplane.side_by_side({f"{rate}": {**own, "median_rate": rate} for rate in rates})["odd"]
    if factor < 1:
        assert odd == []
    else:
        assert [one["detector"] for one in odd] == [f"{0.04 + side * factor * edge}"]
        assert odd[0]["sigmas"] == pytest.approx(side * factor * 5)


def test_what_the_gain_leaves_open_makes_no_detector_odd(alike):
    own = alike["C0"]
    wrong = {**own, **{key: 1.5 * own[key] for key in ("gain", "median_rate", "read_noise")}}
    named = {one["quantity"] for one in focalplane.side_by_side({**alike, "C0": wrong})["odd"]}
    assert named == {"gain", "median_rate", "read_noise"}
    vague = {**wrong, "gain_source": "darks", "gain_of_darks_error": 0.2 * own["gain"]}
    assert focalplane.side_by_side({**alike, "C0": vague})["odd"] == []


@pytest.mark.parametrize(("level", "odd"), [(54_107.0, False), (30_000.0, True)])
def test_full_wells_that_some_detectors_show_make_none_odd(alike, level, odd):
    """Where none is full, the level is that of the converter."""
    shown = {name: {**facts, "saturation": 65535.0} for name, facts in alike.items()}
    shown["C2"]["saturation"] = level
    assert [one["quantity"] for one in focalplane.side_by_side(shown)["odd"]] == ["saturation"] * odd


@pytest.mark.parametrize(("hits", "odd"), [(12, False), (60, True)])
def test_cosmic_rays_that_hit_several_pixels_make_no_detector_odd(alike, hits, odd):
    counts = {**dict.fromkeys(alike, 0), "C1": 2, "C2": 7, "C3": hits}
    shown = {
        name: {**facts, "pixels": 50_000, "flags": {**facts["flags"], "JUMP_DET": counts[name]}}
        for name, facts in alike.items()
    }
    found = [one["quantity"] for one in focalplane.side_by_side(shown)["odd"]]
    assert found.count("JUMP_DET") == odd


@pytest.mark.parametrize("detectors", [6, 7, 8, 12, 30, 189])
def test_normal_detectors_are_seldom_odd_however_few(detectors):
    trials = 20_000
    value = np.random.default_rng(1).normal(size=(trials, detectors))
    away = np.abs(value - np.median(value, axis=1, keepdims=True))
    spread = 1.4826 * np.median(away, axis=1) * focalplane.widening(detectors)
    assert 0 < np.count_nonzero(away.max(axis=1) > focalplane.LIMIT * spread) + 1 < 0.004 * trials


def test_few_detectors_are_not_compared(unlike):
    few = {name: unlike[name] for name in (WARM, "C0", "C1", "C3", "C5")}
    plane = focalplane.side_by_side(few)
    assert plane["odd"] == []
    assert plane["rule"]["fewest_detectors"] == 6
    assert list(planewords.odd_in_words(plane)) == [
        "5 detectors are too few to tell an odd one: that takes 6"
    ]


def test_without_a_gain_all_are_compared_in_adu(unlike):
    own = unlike["C0"]
    gain = own["gain"]
    blind = {
        **own,
        **{key: own[key] / gain for key in ("median_rate", "median_rate_error", "read_noise")},
        **{"gain": None, "gain_source": "none", "unit": "adu/s", "read_noise_unit": "adu"},
    }
    plane = focalplane.side_by_side({**unlike, "C0": blind})
    expected = np.median([facts["median_rate"] / facts["gain"] for facts in unlike.values()])
    assert plane["medians"]["median_rate"]["unit"] == "adu/s"
    assert plane["medians"]["median_rate"]["value"] == pytest.approx(expected)
    assert plane["medians"]["gain"]["detectors"] == 7
    assert {WARM, BAD, NOISY} == {one["detector"] for one in plane["odd"]}
    assert plane["detectors"]["C1"]["unit"] == "electron/s"


def test_what_is_unknown_everywhere_has_no_median(alike):
    plane = focalplane.side_by_side(
        {name: {**facts, "saturation": None, "median_rate": None} for name, facts in alike.items()}
    )
    for name in ("saturation", "median_rate"):
        assert plane["medians"][name]["value"] is None
    rows = list(planewords.table_of(plane))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert rows[-1][1] == "-"
    json.dumps(plane, allow_nan=False)


# --- the report


class Links(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.outside, self.open = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br"):
            self.open.append(tag)
        for name, value in attrs:
            if tag == "a" and name == "href":
                self.found.append(value)
            elif name in ("src", "href", "xlink:href") and not value.startswith(("#", "data:")):
                self.outside.append(value)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_report_shows_all_and_names_the_odd(unlike, tmp_path):
    named = {"odd name & <b>" if name == "C1" else name: facts for name, facts in unlike.items()}
    named["C0"] = {**named["C0"], "gain": None, "saturation": None}
    plane = focalplane.side_by_side(named)
    write_overview(plane, tmp_path / "report.html", "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    links = Links(text)
    assert links.outside == []
    assert len(links.found) == 8
    assert "odd%20name%20%26%20%3Cb%3E/report.html" in links.found
    assert "odd name &amp; &lt;b&gt;</a>" in text
    assert f"{WARM} is odd: dark current" in text
    assert text.count("<figure>") == 2
    assert "Not made" not in text
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    row = re.search(rf"<tr><td><a [^>]*>{BAD}</a>.*?</tr>", text)[0]
    assert "masked pixels" in row
    assert f"{100 * plane['detectors'][BAD]['masked_fraction']:.4g}</td>" in row


# --- on the command line


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mosaic")
    mosaic = write_mosaic(folder / "darks", chips=2)
    arguments = [str(mosaic), "--ext", "all", "-o", str(folder / "out"), "--report"]
    assert cli.main([*arguments, "-q"]) == 0
    return folder / "out", arguments


def test_the_summary_is_that_of_the_detectors(made):
    out, _ = made
    assert left_in(out) == ["CHIP1", "CHIP2", "report.html", "summary.json"]
    plane = json.loads((out / "summary.json").read_text())
    for name, own in plane["detectors"].items():
        facts = hotfit.read(out / name).summary()
        for key in ("median_rate", "median_rate_error", "unit", "gain", "read_noise", "saturation"):
            assert own[key] == (facts[key] if isinstance(facts[key], str) else pytest.approx(facts[key]))
        assert own["masked_fraction"] == facts["masked"] / facts["pixels"]
        assert own["flag_fractions"]["HOT"] == facts["flags"]["HOT"] / facts["pixels"]
        assert own["notes"] == len(facts["notes"])
        assert (out / own["directory"] / "report.html").exists()
    assert plane["version"] == hotfit.__version__
    links = Links((out / "report.html").read_text(encoding="utf-8")).found
    assert links == ["CHIP1/report.html", "CHIP2/report.html"]


def test_such_an_output_can_be_replaced(made, capsys):
    out, arguments = made
    assert cli.main(arguments) == 1
    assert "exists; choose another directory" in capsys.readouterr().err
    before = contents(out)
    (out / "summary.json").write_text("{}")
    arguments = [word for word in arguments if word != "--report"]
    assert cli.main([*arguments, "--overwrite", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"version", "output", "images", "focal_plane"}
    assert left_in(out) == ["CHIP1", "CHIP2", "summary.json"]
    assert (out / "summary.json").read_bytes() == before["summary.json"]
    assert told["focal_plane"] == json.loads(before["summary.json"])
    (out / "CHIP1" / "mine.txt").touch()
    assert cli.main([*arguments, "--overwrite"]) == 1
    assert "mine.txt, which is not a result of hotfit" in capsys.readouterr().err


def test_the_console_ends_with_a_table_of_detectors(made, tmp_path, capsys):
    _, arguments = made
    source = arguments[0]
    assert cli.main([source, "--ext", "all", "-o", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("detector "))
    assert [line.split()[0] for line in lines[head + 1 : head + 4]] == ["CHIP1", "CHIP2", "median"]
    assert lines[head + 4].startswith("2 detectors are too few")


# --- sets apart


def test_every_set_is_fitted_as_if_alone(tmp_path, capsys):
    cameras = write_cameras(tmp_path / "darks", ["red", "blue"], [(40, 48), (30, 60)])
    arguments = [str(cameras[0]), str(cameras[1] / "*_*.fits")]
    assert cli.main([*arguments, "--apart", "-o", str(tmp_path / "out"), "-q"]) == 0
    for folder in cameras:
        assert cli.main([str(folder), "-o", str(tmp_path / folder.name), "-q"]) == 0
        assert contents(tmp_path / folder.name) == contents(tmp_path / "out" / folder.name)
    assert cli.main([*arguments, "-q", "-o", str(tmp_path / "no")]) == 1
    assert "shape in rows x columns differs" in capsys.readouterr().err


def test_images_of_sets_apart(tmp_path):
    a, b = (str(write_mosaic(tmp_path / name, chips=2, shape=(16, 20))) for name in "ab")
    with detectors([a, b], apart=True, ext="all") as rolls:
        assert list(rolls) == ["a-CHIP1", "a-CHIP2", "b-CHIP1", "b-CHIP2"]
    for path in (tmp_path / "b").iterdir():
        fits.setval(path, "EXTNAME", value="X-CHIP1", ext=1)
    (tmp_path / "a").rename(tmp_path / "b-x")
    with (
        pytest.raises(HotfitError, match=r"^b-x-CHIP1: is the name of two detectors; rename "),
        detectors([b, str(tmp_path / "b-x")], apart=True, ext="all"),
    ):
        pass


def test_what_sets_are_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "night" / "cam 1").mkdir(parents=True)
    for argument, name in {
        "night/cam 1": "cam 1",
        "night/cam 1/": "cam 1",
        "night": "night",
        ".": tmp_path.name,
        "night/cam1/*.fits": "cam1",
        "night/cam1/*": "cam1",
        "night/cam1_*.fits.gz": "cam1",
        "night/*_cam1.fit": "cam1",
        "night/cam1/[0-9]*.fits": "cam1",
        "*.fits": tmp_path.name,
        "@lists/cam1.txt": "cam1",
    }.items():
        assert set_name(argument) == name, argument


def test_names_that_sets_cannot_have(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/darks", "b/Darks", "a/nul"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "one.fits").touch()
    for arguments, message in (
        (["a/darks", "b/Darks"], "^b/Darks: would be called Darks, as a/darks is; rename one folder, or "),
        (["one.fits"], r"^one\.fits: is a single file, not the darks of a detector; give --apart folders"),
        (["a/nul"], r"^a/nul: 'nul' cannot name a folder; put the files in a list \(@NAME\.txt\)"),
        (["@summary.json.txt"], "'summary.json' cannot name a folder"),
    ):
        with pytest.raises(HotfitError, match=message), detectors(arguments, apart=True):
            pass


def test_an_error_names_the_image(tmp_path, capsys):
    cameras = write_cameras(tmp_path / "darks", ["red", "blue"], [(16, 20)] * 2)
    for path in cameras[1].glob("dark_*"):
        path.unlink()
    assert cli.main([*map(str, cameras), "--apart", "-q", "-o", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert re.match(r"hotfit: image blue: 3 frames, all of 0 s: a dark rate needs two exposure times", told)
    assert left_in(tmp_path) == ["darks"]
