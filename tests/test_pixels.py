"""The pixel cache: the same pixels as Pillow, in order, once, whatever happens to the file."""

import errno
import multiprocessing
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reidlib.data import pixels as module
from reidlib.data.pixels import pixels, read_image
from reidlib.data.splits import Split


def make_split(paths: list[Path]) -> Split:
    ids = np.arange(1, len(paths) + 1)
    return Split("train", tuple(paths), ids, ids, ids)


@pytest.fixture
def split(tmp_path) -> Split:
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    paths = [folder / f"{i:04d}_c1.png" for i in range(12)]
    for i, path in enumerate(paths):
        Image.fromarray(rng.integers(0, 256, (20 + i, 16, 3), dtype=np.uint8)).save(path)
    return make_split(paths)


def naive(split: Split, height: int, width: int) -> np.ndarray:
    images = []
    for path in split.paths:
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        images.append(np.asarray(resized).transpose(2, 0, 1))
    return np.stack(images)


@pytest.mark.parametrize("workers", [1, 4])
def test_equals_pillow_in_order(split, tmp_path, monkeypatch, workers):
    monkeypatch.setattr(module, "_CHUNK_BYTES", 5 * 3 * 24 * 12)  # several chunks, the last one short
    got = pixels(split, (24, 12), tmp_path / "cache", workers)
    assert got.dtype == np.uint8
    assert not got.flags.writeable
    assert np.array_equal(got, naive(split, 24, 12))


def test_decodes_once(split, tmp_path, monkeypatch):
    first = pixels(split, (24, 12), tmp_path)
    monkeypatch.setattr(module, "read_image", lambda *_: pytest.fail("decoded again"))
    assert np.array_equal(pixels(split, (24, 12), tmp_path), first)


def test_order_size_and_part_have_their_own_files(split, tmp_path):
    whole = pixels(split, (24, 12), tmp_path)
    rows = np.array([5, 0, 0, 9])
    assert np.array_equal(pixels(split.take(rows), (24, 12), tmp_path), whole[rows])
    assert np.array_equal(pixels(split.take(rows[::-1]), (24, 12), tmp_path), whole[rows[::-1]])
    assert np.array_equal(pixels(split, (12, 24), tmp_path), naive(split, 12, 24))


def test_a_repaired_image_of_the_same_size_is_seen(split, tmp_path):
    path = split.paths[3]
    for colour in (10, 200):
        path.with_suffix(".bmp").unlink(missing_ok=True)
        Image.new("RGB", (16, 32), (colour, 0, 0)).save(path.with_suffix(".bmp"))
        os.utime(path.with_suffix(".bmp"), ns=(colour, colour))
        assert pixels(make_split([path.with_suffix(".bmp")]), (32, 16), tmp_path)[0, 0, 0, 0] == colour


@pytest.mark.parametrize("damage", ["truncated", "longer", "empty", "other shape", "not an array"])
def test_a_damaged_cache_file_is_rebuilt(split, tmp_path, damage):
    pixels(split, (24, 12), tmp_path / "cache")
    (file,) = (tmp_path / "cache").glob("*.npy")
    content = file.read_bytes()
    if damage == "other shape":
        np.save(file, np.zeros((12, 3, 12, 24), np.uint8))
    else:
        changed = {"truncated": content[:-1], "longer": content + b"0", "empty": b"", "not an array": b"x" * 999}
        file.write_bytes(changed[damage])
    assert np.array_equal(pixels(split, (24, 12), tmp_path / "cache"), naive(split, 24, 12))
    assert file.read_bytes() == content


def left(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if not path.name.endswith(".lock")]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"hello", "cannot be decoded"), (None, "cannot be decoded .*truncated")],
    ids=["empty", "no image", "truncated"],
)
def test_a_broken_image_is_named_with_what_to_do(split, tmp_path, content, message):
    path = split.paths[4].with_suffix(".jpg")
    Image.fromarray(naive(split, 64, 64)[4].transpose(1, 2, 0)).save(path)
    path.write_bytes(path.read_bytes()[:-900] if content is None else content)
    broken = make_split([*split.paths[:3], path])
    with pytest.raises(ValueError, match=rf"0004_c1\.jpg {message}.*extract it again"):
        pixels(broken, (24, 12), tmp_path / "cache")
    assert left(tmp_path / "cache") == []


def test_several_broken_images_are_counted(split, tmp_path):
    for path in split.paths[2:6]:
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"0002_c1\.png is empty.*3 more, such as .*0003_c1\.png"):
        pixels(split, (24, 12), tmp_path / "cache")


@pytest.mark.parametrize("size", [(640, 200), (4, 40)])
def test_an_image_of_an_impossible_size_is_named(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=rf"a\.png is {size[0]} pixels wide and {size[1]} high"):
        read_image(tmp_path / "a.png")


def test_a_missing_image_is_named(split, tmp_path):
    split.paths[4].unlink()
    with pytest.raises(FileNotFoundError, match=r"0004_c1\.png is missing"):
        pixels(split, (24, 12), tmp_path / "cache")
    with pytest.raises(FileNotFoundError, match=r"0004_c1\.png is not there"):
        read_image(split.paths[4])


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_other_colour_modes_become_rgb(tmp_path, mode):
    file = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    source = Image.new("RGB", (16, 32), (255, 255, 255)).convert(mode)
    source.save(file)
    assert read_image(file).shape == (3, 32, 16)
    assert (read_image(file) > 250).all()


@pytest.mark.parametrize(("mode", "file"), [("CMYK", "a.jpg"), ("P", "a.png"), ("P", "a.bmp"), ("YCbCr", "a.jpg")])
def test_other_colour_modes_keep_their_colours(tmp_path, mode, file):
    Image.new("RGB", (16, 32), (204, 51, 102)).convert(mode).save(tmp_path / file)
    got = read_image(tmp_path / file).reshape(3, -1).astype(int)
    assert np.abs(got - np.array([[204], [51], [102]])).max() < 4


def test_sixteen_bits_of_grey_become_eight(tmp_path):
    levels = np.linspace(0, 65535, 32 * 16).reshape(32, 16).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    got = read_image(tmp_path / "a.png")
    assert np.array_equal(got, np.broadcast_to((levels >> 8).astype(np.uint8), (3, 32, 16)))


def test_exif_orientation_is_applied(tmp_path):
    lying = Image.new("RGB", (32, 16))
    lying.paste((255, 0, 0), (0, 0, 16, 16))  # left half red
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to view
    lying.save(tmp_path / "a.png", exif=exif)
    upright = read_image(tmp_path / "a.png")
    assert upright.shape == (3, 32, 16)
    assert upright[0, :16].min() == 255
    assert upright[0, 16:].max() == 0


def test_a_full_disk_leaves_nothing_and_says_so(split, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))  # writes beyond 4 kB fail
    try:
        with pytest.raises(OSError, match=r"decoded images \(0 MB\) could not be written.*REIDLIB_CACHE") as caught:
            pixels(split, (24, 12), tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert left(tmp_path / "cache") == []
    assert np.array_equal(pixels(split, (24, 12), tmp_path / "cache"), naive(split, 24, 12))


def test_a_read_only_disk_says_so(split, tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    first = pixels(split, (24, 12), tmp_path / "cache")
    monkeypatch.setattr(os, "mkdir", refuse)
    assert np.array_equal(pixels(split, (24, 12), tmp_path / "cache"), first)  # what is there is read
    with pytest.raises(OSError, match=r"decoded images .* could not be written: Read-only file system; free space or"):
        pixels(split, (24, 12), tmp_path / "other")


def test_an_interruption_leaves_nothing(split, tmp_path, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pixels(split, (24, 12), tmp_path / "cache")
    assert left(tmp_path / "cache") == []


def _decode_and_note(split: Split, cache: Path, notes: Path, start: object) -> None:
    build = module._build

    def noted(*arguments: object) -> None:
        (notes / str(os.getpid())).touch()
        build(*arguments)

    module._build = noted
    start.wait()
    pixels(split, (24, 12), cache)


def test_two_processes_decode_once(split, tmp_path):
    context = multiprocessing.get_context("fork")
    start, notes = context.Barrier(3), tmp_path / "notes"
    notes.mkdir()
    both = [context.Process(target=_decode_and_note, args=(split, tmp_path / "cache", notes, start)) for _ in range(3)]
    for process in both:
        process.start()
    for process in both:
        process.join(30)
    assert [process.exitcode for process in both] == [0, 0, 0]
    assert len(list(notes.iterdir())) == 1
    assert np.array_equal(pixels(split, (24, 12), tmp_path / "cache"), naive(split, 24, 12))


def test_the_cache_is_where_the_environment_says(split, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FEW", len(split))
    monkeypatch.setenv("REIDLIB_CACHE", str(tmp_path / "elsewhere"))
    pixels(split, (24, 12))
    assert len(left(tmp_path / "elsewhere")) == 1
    monkeypatch.delenv("REIDLIB_CACHE")
    project = tmp_path / "project"
    (project / "notebooks").mkdir(parents=True)
    (project / "data").mkdir()
    (project / "data" / "paper_values.csv").touch()
    monkeypatch.chdir(project / "notebooks")
    pixels(split, (24, 12))
    assert len(left(project / "build" / "cache")) == 1


def test_few_images_are_decoded_without_a_file(split, tmp_path, monkeypatch):
    monkeypatch.setenv("REIDLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_CHUNK_BYTES", 5 * 3 * 24 * 12)  # several chunks, the last one short
    got = pixels(split, (24, 12))
    assert got.dtype == np.uint8
    assert not got.flags.writeable
    assert np.array_equal(got, naive(split, 24, 12))
    split.paths[2].write_bytes(b"")
    with pytest.raises(ValueError, match=r"0002_c1\.png is empty"):
        pixels(split, (24, 12))
    split.paths[2].unlink()
    with pytest.raises(FileNotFoundError, match=r"0002_c1\.png is not there"):
        pixels(split, (24, 12))
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("size", [(0, 12), (24, -1), (24.0, 12)])
def test_an_impossible_image_size_is_refused(split, tmp_path, size):
    with pytest.raises(ValueError, match="positive whole pixels"):
        pixels(split, size, tmp_path)


def test_an_empty_split_has_no_pixels(split, tmp_path):
    assert pixels(split.take(np.array([], int)), (24, 12), tmp_path).shape == (0, 3, 24, 12)
