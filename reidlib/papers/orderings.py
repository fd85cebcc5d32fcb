"""Which method is ahead of which on real data, as the five papers print it, and the rows that ask it here. Data only.

A line counts as soon as both of its rows have been run; `reidlib.transfer` compares.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple


class Printed(NamedTuple):
    """A number in `data/paper_values.csv`: its paper, table, row, and its dataset as that table heads it."""

    paper: str
    table: str
    row: str
    dataset: str


class Asked(NamedTuple):
    """A row of the study, by paper and key, and which of its evaluations (`Row.evaluations`)."""

    paper: str
    key: str
    column: int = 0


class Ordering(NamedTuple):
    """`better` is printed as ahead of `worse`; measure: "rank1" or "mean_ap"."""

    family: str
    better: str
    worse: str
    measure: str
    printed: tuple[Printed, Printed]
    rows: tuple[Asked, Asked]


METRICS, PAIRS, PARTS, ATTENTION, HAGN = (
    "networks and learnt metrics",
    "networks of different papers",
    "inside MLS",
    "inside CASN",
    "inside HAGN",
)
CASN_PCB = "CASN-PCB(CVPR19) [55] ResNet50"
SINGLE_SHOT = 1  # of the rows on Market-1501 that both protocols score
# The same methods on Market-1501's counterpart, all asked the same queries, for what a paper prints on a dataset where
# a row is wanting.
ON_MARKET = {
    "XQDA": Asked("baselines", "market/xqda"),
    "KISSME": Asked("baselines", "market/kissme"),
    "Euclidean": Asked("baselines", "market/lomo"),
    "X-Corr": Asked("baselines", "market/xcorr"),
    "IDLA": Asked("personnet", "table4/idla"),
    "PersonNet": Asked("personnet", "table4/personnet"),
    "MidLevel": Asked("midlevel", "market/midlevel"),
    "MLS": Asked("mls", "market/mls"),
    "IDE": Asked("casn", "market/ide"),
    "PCB+RPP": Asked("casn", "market/pcb-rpp"),
    "CASN": Asked("casn", "market/casn"),
    "HAGN": Asked("hagn", "market/hagn"),
}


def _market(family: str, better: Printed, worse: Printed, first: str, second: str, column: int) -> Ordering:
    """Two printed numbers, asked on Market-1501's counterpart."""
    rows = (ON_MARKET[first]._replace(column=column), ON_MARKET[second]._replace(column=column))
    measure = "rank1" if column == SINGLE_SHOT else "mean_ap"
    return Ordering(family, first, second, measure, (better, worse), rows)


def _single_shot() -> Iterator[Ordering]:
    """Rank-1 in single-shot galleries, of methods that have no rows on the dataset itself."""
    cuhk03 = "CUHK03 labeled"
    euclid, kissme, idla, personnet = (
        Printed("PersonNet", "Table II", name, cuhk03)
        for name in ("Euclid", "KISSME [15]", "JointRe-id [1]", "PersonNet")
    )
    midlevel = Printed("MidLevel", "Table III", "Proposed", cuhk03)
    xqda = Printed("MidLevel", "Table III", "XQDA+LOMO", cuhk03)
    xcorr, mls = (Printed("MLS", "Table 2", name, cuhk03) for name in ("X-Corr", "Ours-(L2, L3)"))
    yield _market(METRICS, kissme, euclid, "KISSME", "Euclidean", SINGLE_SHOT)
    yield _market(METRICS, idla, kissme, "IDLA", "KISSME", SINGLE_SHOT)
    yield _market(METRICS, personnet, kissme, "PersonNet", "KISSME", SINGLE_SHOT)
    yield _market(METRICS, mls, xqda, "MLS", "XQDA", SINGLE_SHOT)
    yield _market(PAIRS, midlevel, personnet, "MidLevel", "PersonNet", SINGLE_SHOT)
    yield _market(PAIRS, xcorr, idla, "X-Corr", "IDLA", SINGLE_SHOT)
    yield _market(PAIRS, xcorr, personnet, "X-Corr", "PersonNet", SINGLE_SHOT)
    yield _market(PAIRS, mls, xcorr, "MLS", "X-Corr", SINGLE_SHOT)
    yield _market(PAIRS, mls, idla, "MLS", "IDLA", SINGLE_SHOT)
    yield _market(PAIRS, mls, midlevel, "MLS", "MidLevel", SINGLE_SHOT)
    yield _market(PAIRS, mls, personnet, "MLS", "PersonNet", SINGLE_SHOT)


def _whole_gallery() -> Iterator[Ordering]:
    """mAP against the whole gallery of Market-1501, its numbers from three papers."""
    market = "Market-1501"
    printed = {
        "PersonNet": Printed("PersonNet", "Table IV", "PersonNet", market),
        "XQDA": Printed("CASN", "Table 2", "LOMO+XQDA [22]", market),
        "IDE": Printed("CASN", "Table 3", "IDE [34]", "Market-1501 (SQ)"),
        "PCB+RPP": Printed("CASN", "Table 2", "PCB+RPP [34]", market),
        "CASN": Printed("CASN", "Table 2", "CASN (PCB)", market),
        "HAGN": Printed("HAGN", "Table II", "Ours ResNet50", market),
    }
    for family, first, second in (
        (METRICS, "XQDA", "PersonNet"),
        (METRICS, "IDE", "XQDA"),
        (METRICS, "PCB+RPP", "XQDA"),
        (METRICS, "CASN", "XQDA"),
        (METRICS, "HAGN", "XQDA"),
        (PAIRS, "CASN", "PersonNet"),
        (PAIRS, "HAGN", "PersonNet"),
        (PAIRS, "CASN", "PCB+RPP"),
        (PAIRS, "HAGN", "CASN"),
    ):
        yield _market(family, printed[first], printed[second], first, second, 0)


def _of(
    family: str, paper: str, table: str, dataset: str, measure: str, *pairs: tuple[str, str, str, str]
) -> Iterator[Ordering]:
    """Pairs of (printed row, row key) of one table and dataset, the printed row also the label."""
    name = {"personnet": "PersonNet", "midlevel": "MidLevel", "mls": "MLS", "casn": "CASN", "hagn": "HAGN"}[paper]
    for better, its_key, worse, other_key in pairs:
        printed = (Printed(name, table, better, dataset), Printed(name, table, worse, dataset))
        rows = (Asked(paper, its_key), Asked(paper, other_key))
        yield Ordering(family, better, worse, measure, printed, rows)


def _small_sets() -> Iterator[Ordering]:
    """Tables on CUHK01, CUHK03 and VIPeR, asked on the counterpart of each."""
    for slug, table, dataset in (("table2", "Table II", "CUHK03 labeled"), ("table3", "Table III", "CUHK01")):
        found = ("PersonNet", f"{slug}/personnet", "JointRe-id [1]", f"{slug}/jointre-id")
        yield from _of(PAIRS, "personnet", table, dataset, "rank1", found)
    for number, numeral, dataset in ((2, "II", "CUHK01"), (3, "III", "CUHK03 labeled"), (4, "IV", "VIPeR")):
        ours = ("Proposed", f"table{number}/proposed")
        idla, xqda = ("ImprovedReID", f"table{number}/improvedreid"), ("XQDA+LOMO", f"table{number}/xqda+lomo")
        early = [(*ours, *xqda), (*xqda, *idla) if dataset == "VIPeR" else (*idla, *xqda)]
        early += [(*xqda, "KISSME+LOMO", "table4/kissme+lomo")] * (dataset == "VIPeR")
        yield from _of(METRICS, "midlevel", f"Table {numeral}", dataset, "rank1", *early)
        yield from _of(PAIRS, "midlevel", f"Table {numeral}", dataset, "rank1", (*ours, *idla))


def _mls() -> Iterator[Ordering]:
    sets = {"cuhk03-detected": "CUHK03 detected", "cuhk03-labeled": "CUHK03 labeled", "cuhk01": "CUHK01"}
    found = ("Ours-(L2, L3)", "table2/cuhk03-detected-l23", "X-Corr", "table2/cuhk03-detected-x-corr")
    yield from _of(PAIRS, "mls", "Table 2", "CUHK03 detected", "rank1", found)
    for side, dataset in (sets | {"viper": "VIPeR"}).items():
        levels = ("Ours-(L2, L3, L4)", f"table2/{side}-l234", "Ours-(L2, L3)", f"table2/{side}-l23")
        yield from _of(PARTS, "mls", "Table 2", dataset, "rank1", levels)
    rows = {key: (f"Ours-{name}", f"table3/{key}") for key, name in (("cls", "cls"), ("l2", "L2"), ("l3", "L3"))}
    rows |= {"l4": ("Ours-L4", "table3/l4"), "l23": ("Ours-(L2, L3)", "table3/l23")}
    rows["l234"] = ("Ours-(L2, L3, L4)", "table3/l234")
    pairs = (("l3", "l2"), ("l4", "l3"), ("l23", "l2"), ("l23", "l3"), ("l23", "cls"), ("l234", "l4"))
    table = [(*rows[better], *rows[worse]) for better, worse in pairs]
    yield from _of(PARTS, "mls", "Table 3", "CUHK03 detected", "rank1", *table)
    c1, c2, c4 = (
        (f"{key} (dividing {dividing}, STN {stn}, ML yes)", f"table4/{key.lower()}")
        for key, dividing, stn in (("C1", "x", "yes"), ("C2", "yes", "x"), ("C4", "yes", "yes"))
    )
    yield from _of(PARTS, "mls", "Table 4", "CUHK03 detected", "rank1", (*c2, *c1), (*c4, *c2))


def _casn() -> Iterator[Ordering]:
    sides = {"cuhk03-np": "CUHK03-NP detected", "duke": "DukeMTMC-ReID", "market": "Market-1501 (SQ)"}
    for side, dataset in sides.items():
        bases = {}
        for base in ("IDE", "PCB"):
            key = f"table3/{side}-{base.lower()}"
            bases[base] = plain = (f"{base} [34]", key)
            ia, sa = (f"{base} + IA", f"{key}-ia"), (f"{base} + SA", f"{key}-sa")
            full = (f"CASN({base})", f"table3/{side}-casn-{base.lower()}")
            pairs = [(*ia, *plain), (*sa, *plain), (*full, *plain), (*full, *sa)]
            pairs += [(*sa, *ia)] * ((base, side) != ("IDE", "duke"))  # printed as level there
            yield from _of(ATTENTION, "casn", "Table 3", dataset, "mean_ap", *pairs)
        yield from _of(ATTENTION, "casn", "Table 3", dataset, "mean_ap", (*bases["PCB"], *bases["IDE"]))


def _hagn() -> Iterator[Ordering]:
    for key, table, dataset, casn, theirs in (
        ("table3/ours", "Table III", "DukeMTMC-reID", "CASN(CVPR19) [55] ResNet50", "table2/duke-casn-pcb"),
        ("table4/ours-labeled", "Table IV", "CUHK03-NP labeled", CASN_PCB, "table1/labeled-casn-pcb"),
        ("table4/ours-detected", "Table IV", "CUHK03-NP detected", CASN_PCB, "table1/detected-casn-pcb"),
    ):
        printed = (Printed("HAGN", table, "Ours ResNet50", dataset), Printed("HAGN", table, casn, dataset))
        yield Ordering(PAIRS, "HAGN", "CASN", "mean_ap", printed, (Asked("hagn", key), Asked("casn", theirs)))
    added = ("Baseline", "+ Bag of tricks", "+ MPFE", "+ MGO", "+ SAM", "+ CAM")
    keys = ("baseline", "tricks", "mpfe", "mgo", "sam", "cam")
    for slug, table, dataset in (
        ("table6/market", "Table VI", "Market-1501"),
        ("table6/duke", "Table VI", "DukeMTMC-reID"),
        ("table8/duke-market", "Table VIII", "Duke->Market"),
        ("table8/market-duke", "Table VIII", "Market->Duke"),
    ):
        steps = [(name, f"{slug}-{key}") for name, key in zip(added, keys, strict=True)]
        pairs = [(*after, *before) for before, after in pairwise(steps)]
        yield from _of(HAGN, "hagn", table, dataset, "mean_ap", *pairs)
    alone = [  # the tricks are Table VI's first step
        (f"Baseline + {name}", f"table7/{name.lower()}", "Baseline", "table7/baseline")
        for name in ("MGO", "MPFE", "SAM", "CAM")
    ]
    yield from _of(HAGN, "hagn", "Table VII", "DukeMTMC-reID", "mean_ap", *alone)
    for side, dataset in (("market", "Market-1501"), ("duke", "DukeMTMC-reID")):
        stages = [(f"stage {key}", f"table10/{side}-{key}") for key in ("1", "2", "3", "4", "2-4")]
        stages.append(("All stage", f"table10/{side}-all"))
        pairs = [(*after, *before) for before, after in pairwise(stages)]
        yield from _of(HAGN, "hagn", "Table X", dataset, "mean_ap", *pairs)


ORDERINGS = (*_single_shot(), *_whole_gallery(), *_small_sets(), *_mls(), *_casn(), *_hagn())
