"""The same darks in every container give the same maps; compressed ones are unpacked but once."""

import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

import hotfit
from hotfit import cli, simulate
from hotfit.darks import find_darks, open_darks
from hotfit.errors import HotfitError
from hotfit.images import labels_of
from hotfit.readers import Scratch

MAPS = ("rate", "rate_error", "intercept", "slope_residual", "lack_of_fit", "scatter", "n_used", "dq")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A folder of uint16 darks with odd pixels and saturated ones."""
    folder = tmp_path_factory.mktemp("plain") / "darks"
    simulate.write(folder, "cmos", shape=(70, 90), repeats=4, seed=2, odd=30, hot_fraction=0.02)
    (folder / "truth.fits").unlink()
    return folder


@pytest.fixture(scope="module")
def expected(plain):
    return hotfit.fit_darks(plain)


def as_type(dtype):
    def write(header, data, path):
        fits.PrimaryHDU(data.astype(dtype), header).writeto(path.with_suffix(".fit"))

    return write


def squeezed(pack, suffix):
    def write(header, data, path):
        path = path.with_suffix(".fits")
        fits.PrimaryHDU(data, header).writeto(path)
        path.with_name(path.name + suffix).write_bytes(pack(path.read_bytes()))
        path.unlink()

    return write


def tiled(**options):
    def write(header, data, path):
        image = fits.CompImageHDU(data, header, **options)
        fits.HDUList([fits.PrimaryHDU(), image]).writeto(path.with_suffix(".fits.fz"))

    return write


def in_mosaic(header, data, path):
    chips = [fits.ImageHDU(np.flip(data), name="CHIP1"), fits.ImageHDU(data, header, name="CHIP2")]
    fits.HDUList([fits.PrimaryHDU(header=header), *chips]).writeto(path.with_suffix(".FITS"))


def scaled(header, data, path):
    image = fits.PrimaryHDU(data.astype(np.int32), header)
    image.scale("int32", bscale=0.5, bzero=100)
    image.writeto(path.with_suffix(".fts"))


CONTAINERS = {
    ".FIT": lambda header, data, path: fits.PrimaryHDU(data, header).writeto(path.with_suffix(".FIT")),
    "float32": as_type(np.float32),
    "float64": as_type(np.float64),
    "int32": as_type(np.int32),
    "int64": as_type(np.int64),
    "BSCALE": scaled,
    ".fits.gz": squeezed(gzip.compress, ".gz"),
    ".fits.bz2": squeezed(bz2.compress, ".bz2"),
    ".fz, Rice": tiled(compression_type="RICE_1"),
    ".fz, gzip": tiled(compression_type="GZIP_1", tile_shape=(7, 90)),
    "one extension of a mosaic": in_mosaic,
}


def put(plain, folder, write):
    """Write every dark again, in another container."""
    folder.mkdir()
    for path in sorted(plain.glob("*.fits")):
        with fits.open(path) as hdus:
            write(hdus[0].header, hdus[0].data, folder / path.name)
    return folder


def assert_same_maps(fit, expected):
    for name in MAPS:
        np.testing.assert_allclose(
            getattr(fit, name), getattr(expected, name), rtol=2e-5, atol=1e-5, equal_nan=True, err_msg=name
        )


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_maps(plain, expected, tmp_path, container):
    folder = put(plain, tmp_path / "darks", CONTAINERS[container])
    ext = "CHIP2" if "mosaic" in container else None
    assert_same_maps(hotfit.fit_darks(folder, ext=ext), expected)


def test_containers_may_be_mixed(plain, expected, tmp_path):
    folder = tmp_path / "darks"
    folder.mkdir()
    writers = [CONTAINERS[name] for name in (".FIT", ".fits.gz", ".fz, Rice", "int32", "float32")]
    for i, path in enumerate(sorted(plain.glob("*.fits"))):
        with fits.open(path) as hdus:
            writers[i % len(writers)](hdus[0].header, hdus[0].data, folder / path.name)
    assert_same_maps(hotfit.fit_darks(folder), expected)


# --- unpacking


def test_compressed_files_are_decompressed_once(plain, tmp_path, monkeypatch):
    folder = put(plain, tmp_path / "darks", CONTAINERS[".fits.gz"])
    unpacked = []
    plain_of = Scratch.plain

    def counted(self, path):
        before = len(self._plain)
        found = plain_of(self, path)
        unpacked.extend([path] * (len(self._plain) - before))
        return found

    monkeypatch.setattr(Scratch, "plain", counted)
    hotfit.fit_darks(folder, memory=0.2, workers=1)
    assert sorted(unpacked) == sorted(folder.iterdir())


def test_no_room_to_unpack(plain, tmp_path, monkeypatch):
    folder = put(plain, tmp_path / "darks", CONTAINERS[".fits.gz"])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Scratch, "plain", full)
    with pytest.raises(HotfitError, match=r"s_001\.fits\.gz: no room in .* to unpack it; .*TMPDIR"):
        open_darks(folder)


# --- mosaics


@pytest.fixture
def mosaic(plain, tmp_path):
    return put(plain, tmp_path / "mosaic", in_mosaic)


def test_every_extension_has_its_own_result(mosaic, expected, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main([str(mosaic), "--ext", "all", "-o", str(out)]) == 0
    assert sorted(entry.name for entry in out.iterdir()) == ["CHIP1", "CHIP2", "summary.json"]
    told = capsys.readouterr().out
    assert "image CHIP1" in told
    assert "image CHIP2" in told
    assert_same_maps(hotfit.DarkFit.read(out / "CHIP2"), expected)
    np.testing.assert_allclose(
        np.flip(hotfit.DarkFit.read(out / "CHIP1").rate), expected.rate, rtol=0.05, atol=0.01
    )
    assert cli.main([str(mosaic), "--ext", "all", "-o", str(out), "--overwrite", "-q"]) == 0
    (out / "CHIP1" / "notes.txt").write_text("mine")
    assert cli.main([str(mosaic), "--ext", "all", "-o", str(out), "--overwrite", "-q"]) == 1
    assert "notes.txt" in capsys.readouterr().err


def test_compressed_mosaics(plain, expected, tmp_path):
    folder = tmp_path / "packed"
    folder.mkdir()
    for path in put(plain, tmp_path / "mosaic", in_mosaic).iterdir():
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    with find_darks(folder, ext="all") as found:
        assert list(found.images) == ["CHIP1", "CHIP2"]
        assert found.pixels == 2 * 70 * 90
        for label in found.images:
            with found.images[label].open() as darks:
                fit = hotfit.fit_darks(darks)
    assert_same_maps(fit, expected)


def test_a_choice_among_images_is_told(mosaic, tmp_path):
    darks = open_darks(mosaic)
    assert any("the first of 2 images, 1 CHIP1, is used" in note for note in darks.notes)
    assert not any("images" in note for note in open_darks(mosaic, ext="CHIP2").notes)
    opened = [fits.open(path) for path in mosaic.iterdir()]
    assert any("the first of 2 images, 1 CHIP1" in note for note in open_darks(opened).notes)
    for hdus in opened:
        hdus.close()
    packed = []
    for i in range(2):
        images = [make(fits.Header({"EXPTIME": 1.0 + i})) for make in (primary_image, extension_image)]
        fits.HDUList(images).writeto(tmp_path / "two.fits", overwrite=True)
        packed.append(tmp_path / f"two{i}.fits.gz")
        packed[i].write_bytes(gzip.compress((tmp_path / "two.fits").read_bytes()))
    assert any("the first of 2 images, 0 PRIMARY" in note for note in open_darks(packed).notes)


def primary_image(header):
    return fits.PrimaryHDU(np.ones((3, 4), np.uint16), header)


def extension_image(header):
    return fits.ImageHDU(np.ones((3, 4), np.uint16), header)


@pytest.mark.parametrize(
    ("names", "usable"), [("A B", True), ("A a", False), ("AUX B", False), ("A/ B", False)]
)
def test_extension_names_that_can_name_folders(names, usable):
    assert labels_of(names.split(), [1, 2]) == (names.split() if usable else ["1", "2"])


def test_extensions_without_usable_names_are_numbered(tmp_path):
    lists = []
    for i in range(2):
        chips = [fits.ImageHDU(np.full((4, 4), i, np.uint16), name="SCI") for _ in range(2)]
        table = fits.table_to_hdu(hotfit_table())
        primary = fits.PrimaryHDU(header=fits.Header({"EXPTIME": 1.0 + i}))
        lists.append(fits.HDUList([primary, chips[0], table, chips[1]]))
        lists[i].writeto(tmp_path / f"{i}.fits")
    assert list(find_darks(tmp_path, ext="all").images) == ["1", "3"]
    assert list(find_darks(lists, ext="all").images) == ["1", "3"]
    with pytest.raises(HotfitError, match="find_darks"):
        open_darks(tmp_path, ext="all")


def hotfit_table():
    from astropy.table import Table

    return Table({"a": [1, 2]})


def test_files_with_other_extensions_are_refused(mosaic, plain):
    one = next(iter(sorted(plain.iterdir())))
    with pytest.raises(HotfitError, match=rf"{one.name}: holds the images PRIMARY, but .* CHIP1, CHIP2"):
        find_darks([mosaic, one], ext="all")


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize(
    ("container", "ext"), [("", None), ("", 0), ("", "all"), (".gz", None), ("memory", None)]
)
def test_mask_that_ccdproc_wrote_marks_missing_samples(tmp_path, dtype, container, ext):
    data = np.arange(20).reshape(4, 5).astype(dtype)
    items = []
    for i in range(2):
        mask = np.zeros((4, 5), bool)
        mask[i, 3] = True
        hdus = CCDData(data, unit="adu", mask=mask, meta={"EXPTIME": 1.0 + i, "IMAGETYP": "DARK"}).to_hdu()
        items.append(tmp_path / f"{i}.fits" if container != "memory" else hdus)
        if container != "memory":
            hdus.writeto(items[i])
        if container == ".gz":
            items[i] = tmp_path / f"{i}.fits.gz"
            items[i].write_bytes(gzip.compress((tmp_path / f"{i}.fits").read_bytes()))
    with find_darks(items, ext=ext) as found:
        (roll,) = found.images.values()
        darks = roll.open()
        got = darks.rows(0, 4)
    assert np.argwhere(np.isnan(got)).tolist() == [[0, 0, 3], [1, 1, 3]]
    assert got[1, 0, 3] == 3
    assert darks.notes == ()


def test_a_list_of_frames_may_be_any_iterable(plain, expected):
    assert_same_maps(hotfit.fit_darks(Path(path) for path in sorted(plain.iterdir())), expected)
