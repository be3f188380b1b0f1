"""The command line as a user meets it: output, exit codes, one line for every mistake."""

import gzip
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits

import hotfit
from hotfit import cli, console, simulate
from hotfit.flags import Rules
from hotfit.readers import Scratch


@pytest.fixture(scope="module")
def darks(tmp_path_factory):
    """A directory of simulated darks."""
    directory = tmp_path_factory.mktemp("sky") / "darks"
    simulate.write(directory, "guide", shape=(60, 80), repeats=4, seed=1, odd=20)
    return directory


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def left_in(directory):
    """Everything in a directory, hidden files too."""
    return sorted(entry.name for entry in directory.iterdir())


def test_main_job_writes_all_files_and_says_so(darks, here, capsys):
    assert cli.main([str(darks)]) == 0
    out, err = capsys.readouterr()
    assert [line for line in err.splitlines() if not line.startswith("compiling, this once")] == []
    assert left_in(here) == ["hotfit-out"]
    assert left_in(here / "hotfit-out") == [
        "bad_pixels.ecsv",
        "dark_current.fits",
        "mask.fits",
        "summary.json",
    ]
    assert out.count("Dark Frame") == 12
    assert out.count("Bias Frame") == 4
    assert "truth.fits" in out
    fit = hotfit.DarkFit.read("hotfit-out")
    assert f"masked        {np.count_nonzero(fit.mask)} of 4800 pixels" in out
    assert fit.detector.gain_source in ("header", "darks")


def test_quoted_pattern_and_directory_and_list_give_the_same(darks, here):
    (here / "list.txt").write_text("".join(f"{path}\n" for path in sorted(darks.glob("*_*.fits"))))
    for name, argument in (("a", str(darks)), ("b", str(darks / "*_*.fits")), ("c", "@list.txt")):
        assert cli.main([argument, "-o", name, "-q"]) == 0
    one, *others = (hotfit.DarkFit.read(name) for name in "abc")
    for other in others:
        np.testing.assert_array_equal(one.rate, other.rate)


def test_options_reach_the_fit(darks, here):
    options = "--gain 1.4 --read-noise 9 --saturation 50000 --hot 4 --bad HOT,nonlinear --fdr 0.05"
    options += " --tolerance 0.1 --min-sigma 3 --workers 1 --memory 5 -o deep/er/out -q"
    assert cli.main([str(darks), *options.split()]) == 0
    fit = hotfit.DarkFit.read("deep/er/out")
    detector, rules = fit.detector, fit.rules
    assert (detector.gain, detector.gain_source) == (1.4, "user")
    assert (detector.read_noise, detector.read_noise_source) == (pytest.approx(9), "user")
    assert (detector.saturation, detector.saturation_source) == (50000, "user")
    assert (rules.hot, rules.fdr, rules.tolerance, rules.min_sigma) == (4, 0.05, 0.1, 3)
    assert rules.bad == ("HOT", "NONLINEAR")


def test_bias_subtracted_and_exposure_key_and_unit(here):
    rng = np.random.default_rng(0)
    paths = []
    for number, time in enumerate([90.0, 90.0, 1000.0, 1000.0]):
        data = (0.5 * time + rng.normal(0, 3, (20, 30))).astype(np.float32)
        header = fits.Header({"IMAGETYP": "DARK", "MYTIME": 1000 * time})
        fits.PrimaryHDU(data, header).writeto(f"d{number}.fits")
        paths.append(f"d{number}.fits")
    options = ["--exposure-key", "MYTIME", "--exposure-unit", "ms", "--bias-subtracted", "-q"]
    assert cli.main([*paths, *options]) == 0
    fit = hotfit.DarkFit.read("hotfit-out")
    assert fit.bias_subtracted
    assert str(fit.unit) == "adu / s"
    assert np.median(fit.rate) == pytest.approx(0.5, rel=0.01)


def test_json_is_the_only_thing_on_stdout(darks, here, capsys):
    assert cli.main([str(darks), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert len(data["used"]) == 16
    assert data["skipped"][0]["file"].endswith("truth.fits")
    assert data["masked"] == np.count_nonzero(hotfit.DarkFit.read("hotfit-out").mask)


def test_dry_run_writes_nothing(darks, here, capsys):
    assert cli.main([str(darks), "--dry-run"]) == 0
    assert capsys.readouterr().out.count(" yes") == 16
    assert cli.main([str(darks), "--dry-run", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["used"]) == 16
    assert left_in(here) == []


def test_the_table_stands_before_a_refusal(darks, here, capsys):
    """When it is needed most."""
    pattern = str(darks / "dark_0300s_00*.fits")
    for options in ([], ["--dry-run"]):
        assert cli.main([pattern, *options]) == 1
        out, err = capsys.readouterr()
        assert out.count("300 s") == 4
        assert "needs two exposure times" in err
    assert left_in(here) == []


def test_compressed_files_are_not_unpacked_for_a_dry_run(darks, here, monkeypatch):
    for path in darks.glob("*_*.fits"):
        (here / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    monkeypatch.setattr(Scratch, "plain", None)
    assert cli.main([".", "--dry-run", "-q"]) == 0


def test_trim_and_overscan_reach_the_frames(darks, here):
    assert cli.main([str(darks), "--trim", "[1:70,*]", "--overscan", "[71:80]", "--mixed", "GAIN", "-q"]) == 0
    fit = hotfit.DarkFit.read("hotfit-out")
    assert fit.rate.shape == (60, 70)
    assert abs(np.nanmedian(fit.intercept)) < 5


def test_quiet_prints_nothing_and_verbose_more(darks, here, capsys):
    assert cli.main([str(darks), "-q", "-o", "quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert cli.main([str(darks), "-v", "-o", "verbose"]) == 0
    assert capsys.readouterr().out.count("scale 1.0000") >= 4


def make_text(path):
    path.write_text("this is not FITS\n")


def make_truncated(path):
    path.write_bytes(path.read_bytes()[:-4000])


def make_other_shape(path):
    with fits.open(path) as hdus:
        header, data = hdus[0].header.copy(), hdus[0].data[:-1].copy()
    fits.PrimaryHDU(data, header).writeto(path, overwrite=True)


def make_timeless(path):
    for key in ("EXPTIME", "EXPOSURE"):
        fits.delval(path, key)


def make_missing(path):
    path.unlink()


MISTAKES = [
    (make_missing, "check the name"),
    (make_text, "not a FITS file"),
    (make_truncated, "copy it again"),
    (make_other_shape, "59 x 80"),
    (make_timeless, "--exposure-key"),
]


@pytest.mark.parametrize(("spoil", "remedy"), MISTAKES, ids=[spoil.__name__ for spoil, _ in MISTAKES])
def test_bad_input_gives_one_line_and_no_output(darks, here, capsys, spoil, remedy):
    shutil.copytree(darks, here / "darks")
    spoiled = here / "darks" / "dark_0300s_002.fits"
    files = sorted(str(path) for path in (here / "darks").glob("*_*.fits"))
    spoil(spoiled)
    assert cli.main(files) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("hotfit: ")
    assert spoiled.name in err
    assert remedy in err
    assert left_in(here) == ["darks"]


def test_existing_output_is_refused_before_reading_and_replaced_when_asked(darks, here, capsys):
    (here / "hotfit-out").mkdir()
    assert cli.main([str(darks)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "hotfit-out" in err
    assert "--overwrite" in err
    assert left_in(here / "hotfit-out") == []
    assert cli.main([str(darks), "--overwrite", "-q"]) == 0
    assert cli.main([str(darks), "--overwrite", "-q"]) == 0
    (here / "hotfit-out" / "diary.txt").write_text("mine")
    assert cli.main([str(darks), "--overwrite", "-q"]) == 1
    assert "diary.txt" in capsys.readouterr().err
    assert (here / "hotfit-out" / "diary.txt").read_text() == "mine"


def test_output_that_cannot_be_made_gives_one_line(darks, here, capsys):
    (here / "file").write_text("")
    assert cli.main([str(darks), "-o", "file/out", "-q"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "file/out" in err
    assert left_in(here) == ["file"]


@pytest.mark.parametrize(
    "arguments",
    [[], ["--fdr", "7", "x.fits"], ["--bad", "WARM", "x.fits"], ["--workers", "0", "x.fits"], ["--nope"]],
)
def test_wrong_usage_ends_with_2(arguments, here, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: hotfit" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"hotfit {hotfit.__version__}\n"


def test_python_dash_m_passes_the_exit_code_on(here):
    done = subprocess.run(
        [sys.executable, "-m", "hotfit", "nowhere.fits"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "nowhere.fits" in done.stderr


def test_progress_bar_counts_rows_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with console.Bar(10, quiet=False) as bar:
        bar.update(4, 10)
        bar.update(10, 10)
        assert bar.bar.n == 10
        assert not bar.bar.disable
    assert console.Bar(10, quiet=True).bar.disable


def test_help_tells_the_defaults_that_the_rules_have(capsys):
    """--help must not load numpy, so that the numbers stand in it a second time."""
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    rules = Rules()
    for option, default in (
        ("fdr Q", rules.fdr),
        ("tolerance F", rules.tolerance),
        ("min-sigma S", rules.min_sigma),
    ):
        assert f"(default: {default})" in text.partition(f"--{option} ")[2].partition(" --")[0], option
    assert f"(default: {','.join(rules.bad)})" in text
