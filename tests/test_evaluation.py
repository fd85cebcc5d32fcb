"""`rank` and `evaluate` against worked examples and a plain loop with a stable sort."""

import errno
import itertools
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from reidlib.data.splits import Benchmark, Split
from reidlib.evaluation import (
    PROTOCOLS,
    USUAL,
    Evaluation,
    Protocol,
    Reciprocal,
    evaluate,
    rank,
    rank_list,
    rerank,
)
from reidlib.evaluation.ranking import Labels, drawn_galleries, single_shot
from reidlib.models.base import Encoding, ReIDModel

MARKET = PROTOCOLS["market1501"]


def one(distance, gallery, protocol="market1501", query=(7, 1)):
    """`rank` of one query; gallery: (id, camera) pairs."""
    ids, cams = zip(*gallery, strict=True)
    return rank([distance], [query[0]], ids, [query[1]], cams, protocol)


def test_same_camera_match_is_skipped():
    got = one([0.1, 0.2, 0.3], [(7, 1), (8, 1), (7, 2)])
    assert got.first_hit.tolist() == [1]
    assert got.ap.tolist() == [1 / 2]


def test_same_camera_of_another_identity_counts():
    assert one([0.1, 0.2], [(8, 1), (7, 2)]).first_hit.tolist() == [1]


def test_junk_is_skipped_unless_the_protocol_counts_it():
    gallery = [(-1, 2), (7, 2)]
    assert one([0.1, 0.2], gallery).first_hit.tolist() == [0]
    assert one([0.1, 0.2], gallery, "market1501-no-junk").first_hit.tolist() == [1]


def test_distractor_is_a_wrong_answer():
    assert one([0.1, 0.2], [(0, 2), (7, 2)]).first_hit.tolist() == [1]


@pytest.mark.parametrize(("gallery", "hit"), [([(8, 2), (7, 2)], 1), ([(7, 2), (8, 2)], 0)])
def test_ties_go_to_the_lower_index(gallery, hit):
    got = one([0.5, 0.5], gallery)
    assert got.first_hit.tolist() == [hit]
    assert got.tied == 1


def test_a_tie_with_junk_or_a_match_is_no_tie():
    assert one([0.5, 0.5, 0.5, 0.9], [(7, 1), (-1, 2), (7, 2), (8, 2)]).tied == 0
    assert one([0.5, 0.5, 0.9], [(7, 2), (7, 3), (8, 2)]).tied == 0


def test_scores_worked_by_hand():
    # Ranked: wrong, match, wrong, match. Precision at the matches 1/2 and 2/4; one place earlier 0/1 and 1/3.
    gallery = [(8, 2), (7, 2), (9, 2), (7, 3)]
    got = one([1, 2, 3, 4], gallery)
    assert got.mean_ap == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert got.mean_inp == pytest.approx(2 / 4)
    assert got.cmc[:3].tolist() == [0, 1, 1]
    trapezoid = one([1, 2, 3, 4], gallery, "market1501-trapezoid")
    assert trapezoid.mean_ap == pytest.approx(((0 + 1 / 2) / 2 + (1 / 3 + 2 / 4) / 2) / 2)


def test_trapezoid_of_a_perfect_ranking_is_one():
    assert one([1, 2, 3], [(7, 2), (7, 3), (8, 3)], "market1501-trapezoid").mean_ap == 1


def test_queries_without_a_match_are_dropped_and_counted():
    got = rank([[2, 1], [1, 2], [1, 2], [1, 2]], [7, 8, 0, -1], [7, 8], [1, 1, 1, 1], [2, 1])
    assert got.query_index.tolist() == [0]
    assert got.first_hit.tolist() == [1]
    assert got.dropped == 3


def random_case(seed, queries=40, gallery=150, levels=None, dtype=np.float32):
    """Distances and labels with every kind of junk; `levels` distinct distances tie heavily."""
    draw = np.random.default_rng(seed)
    shape = (queries, gallery)
    distance = draw.normal(size=shape) if levels is None else draw.integers(0, levels, shape) / 8
    ids = draw.integers(1, 9, queries), draw.integers(-1, 9, gallery)
    cams = draw.integers(1, 4, queries), draw.integers(1, 4, gallery)
    return distance.astype(dtype), *ids, *cams


def oracle(distance, query_ids, gallery_ids, query_cams, gallery_cams, protocol=MARKET):
    """One row per valid query: index, ap, first_hit, inp, tied."""
    rows = []
    for i, row in enumerate(distance):
        hits, negatives, place = [], [], 0
        for j in np.argsort(row, kind="stable"):
            same = gallery_ids[j] == query_ids[i] and query_ids[i] > 0
            if (gallery_ids[j] == -1 and protocol.junk == "drop") or (same and gallery_cams[j] == query_cams[i]):
                continue
            if same:
                hits.append((place, row[j]))
            else:
                negatives.append(row[j])
            place += 1
        if not hits:
            continue
        total = 0.0
        for number, (place, _) in enumerate(hits):
            precision = (number + 1) / (place + 1)
            before = number / place if place else 1.0
            total += precision if protocol.ap == "step" else (precision + before) / 2
        last = hits[-1][0] + 1
        rows.append((i, total / len(hits), hits[0][0], len(hits) / last, hits[0][1] in negatives))
    return list(zip(*rows, strict=True))


def check(got, expected):
    index, ap, first, inp, tied = expected
    assert got.query_index.tolist() == list(index)
    np.testing.assert_allclose(got.ap, ap, rtol=1e-12)
    assert got.first_hit.tolist() == list(first)
    np.testing.assert_allclose(got.inp, inp, rtol=1e-12)
    assert got.ties.tolist() == list(tied)


@pytest.mark.parametrize("protocol", ["market1501", "market1501-trapezoid", "market1501-no-junk"])
@pytest.mark.parametrize("levels", [None, 12, 3, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64])
def test_rank_is_a_stable_sort(levels, protocol, dtype):
    for seed in range(4):
        case = random_case(seed, levels=levels, dtype=dtype)
        check(rank(*case, protocol), oracle(*case, PROTOCOLS[protocol]))


def test_negative_zero_ties_zero():
    assert one(np.float32([0.0, -0.0]), [(8, 2), (7, 2)]).first_hit.tolist() == [1]


def test_row_blocks_are_the_matrix():
    distance, *labels = random_case(0, queries=300, levels=20)
    whole = rank(distance, *labels)
    cuts = [0, 0, 1, 130, 131, 300]
    parts = rank((distance[a:b] for a, b in itertools.pairwise(cuts)), *labels)
    assert whole.frame().equals(parts.frame())
    assert whole.dropped == parts.dropped


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_torch_is_numpy(dtype):
    distance, *labels = random_case(1, levels=20)
    tensor = torch.tensor(distance, dtype=dtype, requires_grad=True)
    got = rank(tensor, *map(torch.tensor, labels))
    assert got.frame().equals(rank(tensor.detach().double().numpy(), *labels).frame())


def test_layout_in_memory_does_not_matter():
    distance, *labels = random_case(2)
    wide = np.repeat(distance, 2, axis=1)[:, ::2]
    for other in (np.asfortranarray(distance), wide, distance.tolist(), list(np.split(distance, 2))):
        assert rank(other, *labels).frame().equals(rank(distance, *labels).frame())


def test_a_sum_that_overflows_is_no_error():
    huge = np.float32([[3e38, 3e38, 2e38]])
    assert rank(huge, [7], [8, 8, 7], [1], [2, 2, 2]).first_hit.tolist() == [0]


def test_queries_draws_the_same_subset_from_a_matrix():
    distance, *labels = random_case(3, queries=60)
    got = rank(distance, *labels, replace(MARKET, queries=20, seed=5))
    whole = rank(distance, *labels).frame().set_index("query")
    assert len(got) + got.dropped == 20
    assert got.frame().equals(whole.loc[got.query_index].reset_index())
    assert not np.array_equal(got.query_index, rank(distance, *labels, replace(MARKET, queries=20)).query_index)


def test_memory_stays_flat():
    draw = np.random.default_rng(0)
    query_ids, gallery_ids = draw.integers(1, 751, 2000), draw.integers(-1, 751, 20000)
    cams = draw.integers(1, 7, 2000), draw.integers(1, 7, 20000)
    block = draw.random((100, 20000), np.float32)
    tracemalloc.start()
    rank((block + np.float32(i) for i in range(20)), query_ids, gallery_ids, *cams)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6


def test_cmc_and_rank_k():
    got = rank(*random_case(4))
    assert got.cmc[-1] == 1
    assert len(got.cmc) >= 50
    assert (np.diff(got.cmc) >= 0).all()
    for k in (1, 5, 10):
        assert got.rank_k(k) == pytest.approx(got.cmc[k - 1])


def test_frame_and_back():
    got = rank(*random_case(5))
    again = Evaluation.from_frame(got.frame())
    assert again.frame().equals(got.frame())
    assert (again.mean_ap, again.tied, again.cmc.tolist()) == (got.mean_ap, got.tied, got.cmc.tolist())
    bare = Evaluation.from_frame(got.frame()[["query", "ap", "first_hit", "inp"]])
    assert bare.mean_inp == got.mean_inp
    assert np.isnan(bare.tied)


# Intervals


def clustered(seed, people=60, each=8, spread=0.2, noise=0.05):
    """Average precisions around 0.5 that differ from person to person."""
    draw = np.random.default_rng(seed)
    ap = 0.5 + spread * draw.normal(size=people).repeat(each) + noise * draw.normal(size=people * each)
    index = np.arange(len(ap))
    hits = (ap < 0.5).astype(np.int64)
    return Evaluation(index, ap, hits, ap, np.zeros(len(ap), bool), index // each)


def test_clusters_widen_the_interval():
    got = clustered(0)
    for measure in ("mean_ap", "rank1"):
        lower, upper = got.interval(measure)
        alone = got.interval(measure, clusters=got.query_index)
        assert upper - lower > 2 * (alone[1] - alone[0])


def test_interval_covers_the_truth():
    inside = [low <= 0.5 <= high for low, high in (clustered(s).interval(samples=400) for s in range(200))]
    assert 0.88 <= np.mean(inside) <= 0.99


def test_interval_is_seeded_and_levelled():
    got = clustered(1)
    assert got.interval() == got.interval()
    assert got.interval() != got.interval(seed=1)
    assert np.ptp(got.interval(level=0.99)) > np.ptp(got.interval(level=0.8))


# Single-shot


def test_single_shot_is_its_expectation():
    # Everybody takes part, with queries of one camera and gallery images of another: then the match is any of a
    # person's images, and another identity is ahead with the share of its images that are nearer, independently.
    draw = np.random.default_rng(9)
    query_ids, gallery_ids = np.repeat(np.arange(1, 8), 3), draw.permutation(np.repeat(np.arange(1, 8), 4))
    distance = draw.random((21, 28)) + (query_ids[:, None] != gallery_ids) * 0.2
    expected = np.zeros(7)
    for row, person in zip(distance, query_ids, strict=True):
        for match in row[gallery_ids == person]:
            chance = np.eye(7)[0]  # of so many ahead
            for other in set(range(1, 8)) - {person}:
                share = (row[gallery_ids == other] < match).mean()
                chance = (1 - share) * chance + share * np.roll(chance, 1)
            expected += chance / (len(query_ids) * 4)
    labels = query_ids, gallery_ids, np.full(21, 1), np.full(28, 2)
    for name in ("single-shot", "single-shot-20", "single-shot-all"):
        got = rank(distance, *labels, replace(PROTOCOLS[name], draws=1000))
        np.testing.assert_allclose(got.cmc[:7], expected.cumsum(), atol=0.03)


def test_one_probe_a_person():
    _, *labels = random_case(7, queries=80, gallery=300)
    rule = Protocol("few", identities=4, draws=200, probes="one")
    asked = np.zeros(80, int)
    for rows, columns in drawn_galleries(Labels(*labels), rule, np.arange(80)):
        assert len(np.unique(labels[0][rows])) == len(rows)
        assert set(labels[0][rows]) <= set(labels[1][columns])
        asked[rows] += 1
    assert asked.sum() == 200 * 4
    for person in np.unique(labels[0]):
        counts = asked[(labels[0] == person) & Labels(*labels).matched()]
        np.testing.assert_allclose(counts, counts.mean(), atol=5 * np.sqrt(counts.mean()))


def test_mls_has_2000_probes():
    ids = np.arange(1, 121).repeat(2)
    cams = np.tile([1, 2], 120)
    got = rank(np.random.default_rng(0).random((240, 240)), ids, ids, cams, cams, "single-shot-20")
    assert len(got) == 20 * 100
    np.testing.assert_allclose(got.cmc * 2000, np.round(got.cmc * 2000), atol=1e-9)


def test_single_shot_against_a_loop():
    distance, *labels = random_case(6, queries=60, gallery=200, levels=40)
    query_ids, gallery_ids, query_cams, gallery_cams = labels
    rule = Protocol("few", identities=5, draws=7, seed=3)
    got = rank(distance, *labels, rule)
    expected = []
    for rows, columns in drawn_galleries(Labels(*labels), rule, np.arange(60)):
        assert len(columns) == 5
        assert len(np.unique(gallery_ids[columns])) == 5
        for q in rows:
            (own,) = (c for c in columns if gallery_ids[c] == query_ids[q])
            assert gallery_cams[own] != query_cams[q]
            ahead = [
                c for i, c in enumerate(columns) if (distance[q, c], i) < (distance[q, own], list(columns).index(own))
            ]
            expected.append((q, len(ahead)))
    assert [*zip(got.query_index, got.first_hit, strict=True)] == expected
    np.testing.assert_allclose(got.ap, 1 / (got.first_hit + 1))
    assert got.cmc[4] == 1


def test_single_shot_ranks_every_query_of_the_drawn_identities_once_a_draw():
    _, *labels = random_case(7, queries=80, gallery=300)
    rule = Protocol("few", identities=4, draws=3)
    valid = Labels(*labels).matched()
    drawn = list(drawn_galleries(Labels(*labels), rule, np.arange(80)))
    rows = np.concatenate([part for part, _ in drawn])
    people = [np.unique(labels[1][columns]) for _, columns in drawn]
    assert all(len(p) == 4 for p in people)
    for q in np.flatnonzero(valid):
        draws = {tuple(p) for p in people if labels[0][q] in p}
        assert (rows == q).sum() >= len(draws)
    assert (np.bincount(rows, minlength=80) <= 3).all()


def test_a_gallery_that_leaves_no_choice_is_compared_once_and_counts_in_every_draw():
    """VIPeR's: one image a person by either camera."""
    ids, matrix = np.arange(1, 21), np.random.default_rng(0).random((20, 20))
    labels, asked = Labels(ids, ids, np.full(20, 1), np.full(20, 2)), []

    def distance(rows, columns):
        asked.append(rows)
        return matrix[np.ix_(rows, columns)]

    rule = PROTOCOLS["single-shot-all"]
    got = single_shot(distance, labels, rule, np.arange(20))
    assert len(asked) == 1
    ahead = (matrix < np.diag(matrix)[:, None]).sum(1)
    assert got.first_hit.tolist() == [*ahead] * rule.draws


def test_single_shot_galleries_do_not_shrink_with_the_queries_asked():
    _, *labels = random_case(7, queries=80, gallery=300)
    rule = Protocol("few", identities=5, draws=3)
    few = np.flatnonzero(Labels(*labels).matched())[:3]
    for rows, columns in drawn_galleries(Labels(*labels), rule, few):
        assert len(np.unique(labels[1][columns])) == 5
        assert set(labels[0][few]) <= set(labels[1][columns])
        assert set(rows) <= set(few)


def test_single_shot_match_is_uniform_over_valid_images():
    # A query of camera 1; its person has two images in camera 1, two in camera 2 and one in camera 3.
    labels = Labels([7, 8], [7, 7, 7, 7, 7, 8], [1, 1], [1, 1, 2, 2, 3, 2])
    rule = Protocol("two", identities=2, draws=3000)
    matches = [columns[0] for rows, columns in drawn_galleries(labels, rule, np.arange(2)) if 0 in rows]
    counts = np.bincount(matches, minlength=5)
    assert counts[:2].tolist() == [0, 0]
    assert len(matches) == 3000
    np.testing.assert_allclose(counts[2:] / 3000, 1 / 3, atol=0.04)


def test_single_shot_is_seeded():
    case = random_case(8, queries=80, gallery=300)
    rule = Protocol("few", identities=4, draws=3)
    assert rank(*case, rule).frame().equals(rank(*case, rule).frame())
    assert not rank(*case, rule).frame().equals(rank(*case, replace(rule, seed=1)).frame())
    shorter = rank(*case, replace(rule, draws=2)).frame()
    assert rank(*case, rule).frame()[: len(shorter)].equals(shorter)  # a draw depends on its number alone


# Errors


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_distances_that_are_no_numbers_name_the_query(value):
    distance, *labels = random_case(0, queries=200)
    distance[170, 3] = value
    with pytest.raises(ValueError, match="query 170 has NaN or infinite"):
        rank(distance, *labels)
    with pytest.raises(ValueError, match="query 170 has NaN or infinite"):
        rank(distance, *labels, replace(MARKET, queries=199, seed=0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: (c[0][:, :-1], *c[1:]), r"distances of shape \(40, 149\)"),
        (lambda c: (c[0][:-1], *c[1:]), r"distances of shape \(39, 150\)"),
        (lambda c: ([c[0][:-1]], *c[1:]), "39 rows for 40 queries"),
        (lambda c: ([c[0], c[0]], *c[1:]), "more than 40 rows"),
        (lambda c: ([c[0][0][None, :-1]], *c[1:]), r"shape \(1, 149\) for a gallery of 150"),
        (lambda c: (*c[:3], c[3][:-1], c[4]), "40 query ids and 39 query cameras"),
        (lambda c: (c[0], c[1].astype(float), *c[2:]), "query_ids: float64"),
        (lambda c: (c[0], c[1] + 100, *c[2:]), "none of the 40 queries has a match: 40 show an identity"),
        (lambda c: (*c[:3], c[3] * 0, c[4] * 0), "under the query's own camera only"),
        (lambda c: (*c, "market"), "did you mean 'market1501'"),
        (lambda c: (iter([c[0]]), *c[1:], "single-shot"), "not from row blocks"),
    ],
)
def test_bad_input_is_one_sentence(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        rank(*change(random_case(0)))
    assert "\n" not in str(caught.value)


def test_bad_intervals_and_protocols():
    got = clustered(0)
    with pytest.raises(ValueError, match="did you mean 'rank1'"):
        got.interval("rank-1")
    with pytest.raises(ValueError, match="give one for each"):
        got.interval(clusters=[1, 2])
    with pytest.raises(ValueError, match="at least two clusters"):
        got.interval(clusters=np.zeros(len(got)))
    with pytest.raises(ValueError, match="rank-0"):
        got.rank_k(0)
    with pytest.raises(ValueError, match="trapezoid"):
        Protocol("x", ap="trapezium")
    with pytest.raises(ValueError, match="at least 1"):
        Protocol("x", queries=0)
    with pytest.raises(ValueError, match="multi 'average' is unknown"):
        Protocol("x", multi="average")
    with pytest.raises(ValueError, match="single-shot galleries take neither multi='max'"):
        Protocol("x", identities=5, multi="max")
    with pytest.raises(ValueError, match="probes='one' is single-shot's"):
        Protocol("x", probes="one")


# Models


class Pooled(ReIDModel):
    """Colours on a coarse grid; `as_maps` bundles them as a map, unit vectors otherwise."""

    def __init__(self, as_maps=False):
        super().__init__((16, 8))
        self.as_maps, self.encoded, self.compared, self.modes = as_maps, 0, 0, set()

    def forward(self, images):
        self.encoded += len(images)
        self.modes.add((self.training, torch.is_inference_mode_enabled()))
        maps = F.adaptive_avg_pool2d(self.normalise(images), (4, 2))
        return {"encoding": Encoding(maps=maps) if self.as_maps else Encoding(vector=F.normalize(maps.flatten(1)))}

    def compare(self, a, b):
        name = next(iter(a.tensors))
        x, y = (e.tensors[name].flatten(1) for e in (a, b))
        return {"distance": (x - y).square().sum(1)}

    def block(self, queries, gallery):
        self.compared += len(queries) * len(gallery)
        return super().block(queries, gallery)


def toy(folder, noise):
    """Twelve people in three cameras, noisy, with junk and distractors in the gallery."""
    draw = np.random.default_rng(0)
    looks = draw.integers(0, 256, (30, 4, 2, 3))

    def split(name, people, cameras):
        paths = []
        for i, person in enumerate(people):
            look = looks[person] if person > 0 else draw.integers(0, 256, (4, 2, 3))
            pixels = look.repeat(4, 0).repeat(4, 1) + draw.normal(0, noise, (16, 8, 3))
            paths.append(folder / f"{name}{i}.png")
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(paths[-1])
        groups = np.where(np.array(people) > 0, (np.array(people) + 1) // 2, people)
        return Split(name, tuple(paths), np.array(people), np.array(cameras), groups)

    people, cameras = np.repeat(np.arange(1, 13), 6), np.tile([1, 1, 2, 2, 3, 3], 12)
    return Benchmark(
        "toy",
        split("train", [21, 21, 22, 22], [1, 2, 1, 2]),
        split("query", np.tile(np.arange(1, 13), 2), np.repeat([1, 2], 12)),
        split("gallery", [*people, *[-1] * 5, *[0] * 7], [*cameras, *[1] * 12]),
    )


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    """One on which nearly every answer is right."""
    return toy(tmp_path_factory.mktemp("benchmark"), 40)


@pytest.fixture(scope="module")
def hard(tmp_path_factory):
    """One on which many answers are wrong."""
    return toy(tmp_path_factory.mktemp("hard"), 400)


@pytest.fixture
def options(tmp_path_factory):
    return {"cache": tmp_path_factory.getbasetemp() / "cache", "progress": False}


def matrix(model, benchmark):
    """All distances, straight from the image files."""

    def load(split):
        images = np.stack([np.asarray(Image.open(path)) for path in split.paths])
        return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255

    with torch.no_grad():
        return model.distance(model.encode(load(benchmark.query)), model.encode(load(benchmark.gallery)))


def encodings(split):
    """`Pooled`'s vectors in float64, image by image and cell by cell, straight from the files: (N, 24), mirrored."""
    found = []
    for path in split.paths:
        image = np.asarray(Image.open(path)).astype(np.float64) / 255 - 0.5
        cells = np.array(
            [[image[4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean((0, 1)) for j in range(2)] for i in range(4)]
        )
        found.append([np.moveaxis(part, 2, 0).ravel() for part in (cells, cells[:, ::-1])])
    vectors = np.array(found)
    return (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).transpose(1, 0, 2)


def unit(vector):
    return vector / np.linalg.norm(vector)


def expected_distances(benchmark, rule):
    """Distances under a protocol's rules for encodings, one vector at a time."""
    sides = []
    for split in (benchmark.query, benchmark.gallery, benchmark.multi or benchmark.gallery):
        straight, mirrored = encodings(split)
        sides.append([unit(a + b) for a, b in zip(straight, mirrored, strict=True)] if rule.flip else list(straight))
    query, gallery, further = sides
    if rule.multi:
        own = list(query)
        pool = {"max": lambda vectors: np.max(vectors, 0), "mean": lambda vectors: np.mean(vectors, 0)}[rule.multi]
        more = benchmark.multi or benchmark.gallery
        for i, person in enumerate(benchmark.query.person_ids):
            cell = person, benchmark.query.camera_ids[i]
            near = [further[j] for j in range(len(more)) if (more.person_ids[j], more.camera_ids[j]) == cell]
            if benchmark.multi is None:
                labels = zip(benchmark.query.person_ids, benchmark.query.camera_ids, strict=True)
                near += [own[j] for j, label in enumerate(labels) if label == cell]
            query[i] = unit(pool(near)) if near else own[i]
    return np.array([[((a - b) ** 2).sum() for b in gallery] for a in query])


def labels_of(benchmark):
    query, gallery = benchmark.query, benchmark.gallery
    return query.person_ids, gallery.person_ids, query.camera_ids, gallery.camera_ids


@pytest.mark.parametrize("as_maps", [False, True])
@pytest.mark.parametrize("protocol", ["market1501", "single-shot", Protocol("few", identities=5, draws=4)])
def test_evaluate_is_rank_of_all_distances(benchmark, options, protocol, as_maps):
    model = Pooled(as_maps)
    got = evaluate(model, benchmark, protocol, batch_size=7, **options)
    expected = rank(matrix(model, benchmark), *labels_of(benchmark), protocol)
    assert got.first_hit.tolist() == expected.first_hit.tolist()
    assert got.query_index.tolist() == expected.query_index.tolist()
    np.testing.assert_allclose(got.ap, expected.ap)
    assert got.groups.tolist() == benchmark.query.groups[got.query_index].tolist()
    assert 0.3 < got.mean_ap <= 1


MULTI = ("none", "gt_bbox")


@pytest.fixture(scope="module", params=MULTI)
def with_multi(request, hard):
    """The hard benchmark, and the same with further images of some of its queries' people."""
    if request.param == "none":
        return hard
    more = hard.gallery.take(np.flatnonzero((hard.gallery.person_ids > 3) & (hard.gallery.camera_ids < 3)))
    return replace(hard, multi=more.take(np.arange(len(more))[::-1], "multi"))


@pytest.mark.parametrize("name", [n for n, p in PROTOCOLS.items() if p.identities is None and not p.rerank])
def test_every_protocol_of_the_whole_gallery_is_a_loop_over_files(with_multi, options, name):
    rule = PROTOCOLS[name]
    got = evaluate(Pooled(), with_multi, name, batch_size=5, **options)
    assert 0.1 < got.rank_k(1) < 0.9
    check(got, oracle(expected_distances(with_multi, rule), *labels_of(with_multi), rule))


def test_reranking_ranks_the_whole_gallery_junk_included(hard, options):
    model, rule = Pooled(), Protocol("x", rerank=Reciprocal(k1=6, k2=3))
    everything = torch.from_numpy(np.concatenate([encodings(hard.query)[0], encodings(hard.gallery)[0]]))
    d, q = torch.cdist(everything, everything).square().numpy(), len(hard.query)
    expected = rank(rerank(d[:q, :q], d[:q, q:], d[q:, q:], rule.rerank), *labels_of(hard))
    got = evaluate(model, hard, rule, **options)
    assert got.first_hit.tolist() == expected.first_hit.tolist()
    np.testing.assert_allclose(got.ap, expected.ap)
    assert got.mean_ap > evaluate(model, hard, **options).mean_ap
    lists = rank_list(model, hard, np.arange(q), k=5, protocol=rule, **options)
    assert (lists.correct[:, 0] == (got.first_hit == 0)).all()


def test_reranking_takes_any_model(hard, options):
    told = []

    class Relative(Pooled):
        normalises_rows = True

        def distance(self, queries, gallery, counted=None):
            told.append(len(gallery))
            return super().distance(queries, gallery)

    rule = Protocol("x", rerank=Reciprocal(k1=6, k2=3))
    expected = evaluate(Pooled(), hard, rule, **options)
    assert evaluate(Relative(), hard, rule, **options).first_hit.tolist() == expected.first_hit.tolist()
    assert evaluate(Pooled(as_maps=True), hard, rule, **options).mean_ap != expected.mean_ap
    assert set(told) == {len(hard.query) + len(hard.gallery)}


def test_pooling_needs_vectors_and_reads_no_distances(benchmark, options):
    message = (
        r"pools the encodings .* needs one vector an image; this model encodes to \['maps'\]: choose .* without multi"
    )
    with pytest.raises(ValueError, match=message):
        evaluate(Pooled(as_maps=True), benchmark, "market1501-multi-max", **options)
    with pytest.raises(ValueError, match="pools queries, which takes more than these distances: `evaluate` a model"):
        rank(*random_case(0), "market1501-multi-mean")


def test_a_subset_of_queries_pools_the_same_images(with_multi, options):
    whole = evaluate(Pooled(), with_multi, "market1501-multi-mean", **options).frame().set_index("query")
    few = evaluate(Pooled(), with_multi, "market1501-multi-mean", queries=5, **options)
    assert few.frame().drop(columns="query").equals(whole.loc[few.query_index].reset_index(drop=True))


def test_raw_vectors_are_pooled_and_mirrored_as_they_are(hard, options):
    class Raw(Pooled):  # the length of a vector is how colourful its image is: HAGN's code sums such vectors
        def forward(self, images):
            maps = F.adaptive_avg_pool2d(self.normalise(images), (4, 2)).flatten(1)
            return {"encoding": Encoding(vector=maps)}

        def compare(self, a, b):
            return {"distance": 1 - F.cosine_similarity(a.vector, b.vector)}

    raw = [
        np.stack([np.asarray(Image.open(path)) for path in split.paths]).astype(np.float64) / 255 - 0.5
        for split in (hard.query, hard.gallery)
    ]
    vectors = [(x + x[:, :, ::-1]).reshape(len(x), 4, 4, 2, 4, 3).mean((2, 4)).reshape(len(x), -1) for x in raw]
    q, g = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in vectors)
    expected = rank(1 - q @ g.T, *labels_of(hard), "market1501-trapezoid")
    got = evaluate(Raw(), hard, "market1501-flip-trapezoid", **options)
    assert got.first_hit.tolist() == expected.first_hit.tolist()


def test_every_dataset_has_its_usual_protocol():
    assert set(USUAL.values()) <= set(PROTOCOLS)
    assert [name for name in USUAL if name.startswith(("market", "duke", "msmt", "cuhk03-np"))] == [
        name for name, protocol in USUAL.items() if PROTOCOLS[protocol].identities is None
    ]


@pytest.mark.parametrize("queries", [None, 5])
def test_a_model_that_normalises_over_the_gallery_is_told_what_counts(benchmark, options, queries):
    told = []

    class Relative(Pooled):
        normalises_rows = True

        def distance(self, queries, gallery, counted=None):
            told.append(counted)
            return super().distance(queries, gallery)

    found = evaluate(Relative(False), benchmark, queries=queries, **options)
    query, gallery = benchmark.query, benchmark.gallery
    kept = np.flatnonzero(gallery.person_ids != -1)
    expected = [
        [query.person_ids[q] != gallery.person_ids[g] or query.camera_ids[q] != gallery.camera_ids[g] for g in kept]
        for q in (range(len(query)) if queries is None else found.query_index)
    ]
    assert torch.cat(told).tolist() == expected


@pytest.mark.parametrize("training", [True, False])
def test_evaluate_leaves_the_mode_and_takes_no_gradients(benchmark, options, training):
    model = Pooled().train(training)
    evaluate(model, benchmark, **options)
    assert model.modes == {(False, True)}
    assert model.training is training
    with pytest.raises(ValueError, match="precision 'fp8'"):
        evaluate(model, benchmark, precision="fp8", **options)


def test_single_shot_computes_the_drawn_galleries_alone(benchmark, options):
    model = Pooled()
    got = evaluate(model, benchmark, Protocol("few", identities=3, draws=2), **options)
    assert model.compared == 3 * len(got)
    assert model.encoded <= len(np.unique(got.query_index)) + 2 * 2 * 3


def test_a_subset_of_queries_encodes_no_more_and_never_junk(benchmark, options):
    model = Pooled()
    got = evaluate(model, benchmark, queries=5, seed=2, **options)
    assert len(got) == 5
    assert model.encoded == 5 + int((benchmark.gallery.person_ids != -1).sum())
    whole = evaluate(Pooled(), benchmark, **options).frame().set_index("query")
    assert got.frame()["first_hit"].tolist() == whole.loc[got.query_index]["first_hit"].tolist()


def test_flip_makes_mirror_images_equal(benchmark, options):
    class Mirrored(Pooled):
        def encode(self, images):
            return super().encode(images.flip(-1))

    straight = evaluate(Pooled(), benchmark, "market1501-flip", **options)
    assert straight.frame().equals(evaluate(Mirrored(), benchmark, "market1501-flip", **options).frame())
    with pytest.raises(ValueError, match=r"one vector an image; this model encodes to \['maps'\]"):
        evaluate(Pooled(as_maps=True), benchmark, "market1501-flip", **options)


def test_encodings_too_big_for_memory_go_to_a_file(benchmark, options, monkeypatch):
    expected = evaluate(Pooled(), benchmark, **options).frame()
    monkeypatch.setattr("reidlib.evaluation.scoring.RESIDENT_BYTES", 100)
    assert evaluate(Pooled(), benchmark, **options).frame().equals(expected)


def test_encodings_that_fit_nowhere_are_refused_before_they_are_made(benchmark, options, monkeypatch):
    """A file that is mapped and not there in full would end the process by a signal."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("reidlib.evaluation.scoring.RESIDENT_BYTES", 100)
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match=r"encodings \(0 GB\) could not be written: No .*; free space or point TMPDIR"):
        evaluate(Pooled(), benchmark, **options)


def test_bf16_encoding_is_close(benchmark, options):
    fine, coarse = (evaluate(Pooled(), benchmark, precision=p, **options) for p in ("fp32", "bf16"))
    assert coarse.mean_ap == pytest.approx(fine.mean_ap, abs=0.05)


def test_a_gpu_encodes_in_what_fp32_says(benchmark, options):
    """By default PyTorch's convolutions on a GPU round float32; the setting comes back."""
    seen = []

    class Watched(Pooled):
        def forward(self, images):
            seen.append(torch.backends.cudnn.allow_tf32)
            return super().forward(images)

    before = torch.backends.cudnn.allow_tf32
    evaluate(Watched(), benchmark, **options)
    assert len(seen) > 1
    assert not any(seen)
    assert torch.backends.cudnn.allow_tf32 == before


def test_rank_list_is_a_stable_sort_without_junk(benchmark, options):
    model, asked = Pooled(), [3, 0, 17]
    got = rank_list(model, benchmark, asked, k=8, **options)
    query_ids, gallery_ids, query_cams, gallery_cams = labels_of(benchmark)
    for row, q, index, near in zip(
        matrix(model, benchmark)[asked].numpy(), asked, got.gallery_index, got.distance, strict=True
    ):
        junk = (gallery_ids == -1) | ((gallery_ids == query_ids[q]) & (gallery_cams == query_cams[q]))
        order = [j for j in np.argsort(row, kind="stable") if not junk[j]][:8]
        assert index.tolist() == order
        np.testing.assert_allclose(near, row[order], rtol=1e-5)
    assert (got.correct == (gallery_ids[got.gallery_index] == query_ids[asked][:, None])).all()
    assert got.correct.any()
    first = evaluate(model, benchmark, **options).first_hit[asked]
    assert all(c.argmax() == hit for c, hit in zip(got.correct, first, strict=True) if hit < 8)


def test_a_rank_list_is_told_the_pairs_that_the_scores_are_told(benchmark, options):
    """A model that puts distances between 0 and 1 over what counts: junk, which does not, must not move the ends."""

    class Normalised(Pooled):
        normalises_rows = True

        def distance(self, queries, gallery, counted=None):
            found = super().distance(queries, gallery).masked_fill(~counted, torch.nan)
            return (found / found.nan_to_num(0).amax(1, keepdim=True)).nan_to_num(9.0)

    got = rank_list(Normalised(), benchmark, np.arange(len(benchmark.query)), k=500, **options)
    assert (np.where(np.isfinite(got.distance), got.distance, 0).max(1) == 1.0).all()


def test_rank_list_pads_past_the_end_of_the_gallery(benchmark, options):
    got = rank_list(Pooled(), benchmark, [0], k=500, **options)
    assert got.gallery_index.shape == (1, len(benchmark.gallery))
    assert (got.gallery_index == -1).sum() == 5 + 2  # junk, and its own camera
    assert not got.correct[got.gallery_index == -1].any()
    with pytest.raises(ValueError, match="indices below 24"):
        rank_list(Pooled(), benchmark, [24], **options)
