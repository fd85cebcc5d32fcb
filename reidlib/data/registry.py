"""Every real dataset: how it is read, what stands for it, and what was published of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from reidlib.data.cuhk01 import load_cuhk01, load_cuhk01_all
from reidlib.data.cuhk03 import load_cuhk03, load_cuhk03_all, load_cuhk03_np
from reidlib.data.dukemtmc import load_dukemtmc
from reidlib.data.market1501 import load_distractors, load_market1501
from reidlib.data.msmt17 import load_msmt17
from reidlib.data.own import load_folders
from reidlib.data.splits import Benchmark
from reidlib.data.viper import load_viper

RANDOM_SPLITS = 20  # where the splits are drawn, not published: as many as CUHK03's


@dataclass(frozen=True)
class Counts:
    """What was published of a dataset.

    splits: (people, images) by split name, junk and distractors no people; None where it varies or is not printed.
    remark: what the source prints otherwise, and why.
    """

    source: str
    people: int
    images: int
    cameras: int
    splits: Mapping[str, tuple[int | None, int | None]] = field(default_factory=dict)
    remark: str = ""

    def __str__(self) -> str:
        numbers = f"{self.people:,} people, {self.images:,} images, {self.cameras} cameras"
        return f"printed in {self.source}: {numbers}" + (f" ({self.remark})" if self.remark else "")


@dataclass(frozen=True)
class Dataset:
    """A real dataset.

    layout: the file layout it is read from. read: (root, split) -> Benchmark; FileNotFoundError or ValueError says in
    one sentence what is missing or wrong. splits: how many numbered splits there are; trial t uses split t modulo
    this. counterpart: the synthetic domain that stands for it. published: None for a user's own. preset: of the
    counterpart's images; in single-shot galleries a histogram of colours finds as much on "hard" images as in
    others at "default", where it finds up to more than half.
    """

    name: str
    title: str
    layout: str
    read: Callable[[Path, int], Benchmark]
    published: Counts | None
    splits: int = 1
    counterpart: str = "plaza"
    preset: str = "default"


_HAGN, _MIDLEVEL = "HAGN, Table I", "MidLevel, Table I"
_ONE_FEWER = "it has 13,164, the detected boxes; of labeled ones there is one fewer"
_MARKET = {"train": (751, 12936), "query": (750, 3368), "gallery": (750, 19732)}


_CLASSIC = {"train": (1160, None), "validation": (100, None), "query": (100, None), "gallery": (100, None)}


def _cuhk03(kind: str, splits: Mapping[str, tuple[int | None, int | None]] = _CLASSIC) -> Dataset:
    return Dataset(
        name=f"cuhk03-{kind}",
        title=f"CUHK03, {kind} boxes, 1,160/100/100",
        layout="cuhk03",
        read=lambda root, split: load_cuhk03(root, kind, split),
        splits=20,
        preset="hard",
        published=Counts(
            _MIDLEVEL,
            people=1360,
            images=13164 if kind == "detected" else 13163,
            cameras=2,
            splits=splits,
            remark="" if kind == "detected" else _ONE_FEWER,
        ),
    )


def _cuhk03_np(kind: str, train: int, gallery: int) -> Dataset:
    return Dataset(
        name=f"cuhk03-np-{kind}",
        title=f"CUHK03-NP, {kind} boxes, 767/700",
        layout="cuhk03",
        read=lambda root, _: load_cuhk03_np(root, kind),
        published=Counts(
            _HAGN,
            people=1467,
            images=train + 1400 + gallery,
            cameras=2,
            splits={"train": (767, train), "query": (700, 1400), "gallery": (700, gallery)},
            remark="its table has 13,164 boxes, of the classic 1,360 people, and 6 cameras; its text 14,097 and 2",
        ),
    )


def _cuhk01(name: str, tested: int | None, train: int, test: int) -> Dataset:
    return Dataset(
        name=name,
        title=f"CUHK01, {train}/{test}",
        layout="cuhk01",
        read=lambda root, split: load_cuhk01(root, split, tested),
        splits=RANDOM_SPLITS,
        preset="hard",
        published=Counts(
            _MIDLEVEL,
            people=971,
            images=3884,
            cameras=2,
            splits={"train": (train, 4 * train), "query": (test, 2 * test), "gallery": (test, 2 * test)},
        ),
    )


_ALL = (
    Dataset(
        name="market1501",
        title="Market-1501",
        layout="market1501",
        read=lambda root, _: load_market1501(root),
        published=Counts(_HAGN, people=1501, images=32668, cameras=6, splits=_MARKET, remark="images without queries"),
    ),
    Dataset(
        name="market1501-500k",
        title="Market-1501 with 500,000 distractors",
        layout="market1501-500k",
        read=lambda root, _: load_distractors(root),
        published=Counts(
            _HAGN,
            people=1501,
            images=32668,
            cameras=6,
            splits=_MARKET | {"gallery": (750, None)},
            remark="images without queries and the 500,000 distractors",
        ),
    ),
    Dataset(
        name="dukemtmc",
        title="DukeMTMC-reID",
        layout="dukemtmc",
        read=lambda root, _: load_dukemtmc(root),
        counterpart="campus",
        published=Counts(
            _HAGN,
            people=1812,
            images=36411,
            cameras=8,
            splits={"train": (702, 16522), "query": (702, 2228), "gallery": (1110, 17661)},
            remark="702 test people and 408 who are in the gallery only",
        ),
    ),
    Dataset(
        name="msmt17",
        title="MSMT17",
        layout="msmt17",
        read=lambda root, _: load_msmt17(root),
        published=Counts(
            _HAGN,
            people=4101,
            images=126441,
            cameras=15,
            splits={"train": (1041, 32621), "query": (3060, 11659), "gallery": (3060, 82161)},
            remark="its 93,820 test images are queries and gallery together",
        ),
    ),
    _cuhk03("labeled"),
    _cuhk03("detected"),
    _cuhk03_np("labeled", train=7368, gallery=5328),
    _cuhk03_np("detected", train=7365, gallery=5332),
    _cuhk01("cuhk01", 100, 871, 100),
    _cuhk01("cuhk01-486", None, 485, 486),
    # MidLevel's Sec. V-D trains on all of one dataset and tests with all of another.
    replace(
        _cuhk03("labeled", {"train": (1360, 13163), "query": (1360, None), "gallery": (1360, None)}),
        name="cuhk03-labeled-all",
        title="CUHK03, labeled boxes, all 1,360 people",
        read=lambda root, _: load_cuhk03_all(root, "labeled"),
        splits=1,
    ),
    replace(
        _cuhk01("cuhk01-all", None, 971, 971),
        title="CUHK01, all 971 people",
        read=lambda root, _: load_cuhk01_all(root),
        splits=1,
    ),
    Dataset(
        name="viper",
        title="VIPeR, 316/316",
        layout="viper",
        read=load_viper,
        splits=RANDOM_SPLITS,
        preset="hard",
        published=Counts(
            _MIDLEVEL,
            people=632,
            images=1264,
            cameras=2,
            splits={"train": (316, 632), "query": (316, 316), "gallery": (316, 316)},
        ),
    ),
    Dataset(
        name="folders",
        title="a dataset of your own",
        layout="folders",
        read=lambda root, _: load_folders(root),
        published=None,
    ),
)
DATASETS = {dataset.name: dataset for dataset in _ALL}
