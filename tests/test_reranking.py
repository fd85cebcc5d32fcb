"""k-reciprocal re-ranking against the paper's equations written out set by set, and its memory."""

import tracemalloc

import numpy as np
import pytest

from reidlib.evaluation import Protocol, Reciprocal, rank, rerank
from reidlib.evaluation.reranking import reranked, smallest


def literal(qq, qg, gg, k1=20, k2=6, weight=0.3):
    """Zhong et al. 2017, Sec. 3, in sets and float64; ties go to the lower index, an image leads its own list."""
    d = np.block([[qq, qg], [qg.T, gg]]).astype(np.float64)
    least = d.min(1, keepdims=True)
    d = (d - least) / np.maximum(d.max(1, keepdims=True) - least, 1e-300)
    count = len(d)
    order = []
    for i in range(count):
        d[i, i] = 0
        others = sorted((j for j in range(count) if j != i), key=lambda j: (d[i, j], j))
        order.append([i, *others])

    def reciprocal(i, k):  # eq. 3; k others and the image itself
        return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}

    v = np.zeros((count, count))
    for i in range(count):
        own = reciprocal(i, k1)
        expanded = set(own)
        for j in own:  # eq. 4
            more = reciprocal(j, round(k1 / 2))
            if len(own & more) > 2 / 3 * len(more):
                expanded |= more
        for j in expanded:  # eq. 7
            v[i, j] = np.exp(-d[i, j])
        v[i] /= v[i].sum()
    v = np.stack([v[order[i][:k2]].mean(0) for i in range(count)])  # eq. 11
    final = np.empty(qg.shape)
    for i in range(len(qg)):
        for j in range(qg.shape[1]):
            a, b = v[i], v[len(qg) + j]
            jaccard = 1 - np.minimum(a, b).sum() / np.maximum(a, b).sum()  # eq. 10
            final[i, j] = (1 - weight) * jaccard + weight * d[i, len(qg) + j]  # eq. 12
    return final


def crowd(seed, queries=12, gallery=70, people=9, dtype=np.float32, noise=0.6):
    """Distances of unit vectors around a few centres: (queries, queries), (queries, gallery), (gallery, gallery)."""
    draw = np.random.default_rng(seed)
    count = queries + gallery
    features = draw.normal(size=(people, 8))[draw.integers(0, people, count)] + noise * draw.normal(size=(count, 8))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    d = (1 - features @ features.T).astype(dtype)
    return d[:queries, :queries], d[:queries, queries:], d[queries:, queries:]


@pytest.mark.parametrize(
    "settings", [{}, {"k1": 6, "k2": 3}, {"k1": 5, "k2": 1}, {"k1": 7, "k2": 2, "weight": 0}, {"k1": 1, "k2": 1}]
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rerank_is_the_paper_set_by_set(seed, settings):
    parts = crowd(seed)
    np.testing.assert_allclose(rerank(*parts, Reciprocal(**settings)), literal(*parts, **settings), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_precision_of_the_distances_does_not_matter(dtype):
    parts = crowd(3, dtype=dtype)
    exact = literal(*(part.astype(np.float32) for part in parts))
    np.testing.assert_allclose(rerank(*parts), exact, atol=1e-6)


def test_ties_go_to_the_lower_index():
    parts = [np.round(part * 8) / 8 for part in crowd(4)]
    np.testing.assert_allclose(rerank(*parts), literal(*parts), atol=1e-6)


def test_distances_may_be_logits():
    parts = [10 * part - 7 for part in crowd(5)]
    np.testing.assert_allclose(rerank(*parts), literal(*parts), atol=1e-6)
    np.testing.assert_allclose(rerank(*parts), rerank(*crowd(5)), atol=1e-5)


def test_a_crowd_smaller_than_its_neighbourhoods():
    parts = crowd(6, queries=2, gallery=5)
    np.testing.assert_allclose(rerank(*parts), literal(*parts), atol=1e-6)


def test_equal_distances_leave_no_nan():
    parts = np.zeros((3, 3)), np.zeros((3, 30)), np.zeros((30, 30))
    assert np.isfinite(rerank(*parts)).all()


def test_only_the_original_distance():
    qq, qg, gg = crowd(7)
    greatest = np.concatenate([qq, qg], 1).max(1, keepdims=True)
    np.testing.assert_allclose(rerank(qq, qg, gg, Reciprocal(weight=1)), qg / greatest, atol=1e-6)


def test_a_shared_neighbourhood_brings_a_far_match_near():
    # A row of images, each half a step from the next, from the query at 0; the match is its far end, and at 1.9 on
    # the other side stands a stranger with people of its own around it.
    places = np.array([0, 0.5, 1.0, 1.5, 2.0, -1.9, -2.0, -2.1, -2.2, -1.8])
    d = (places[:, None] - places) ** 2
    assert d[0, 4] > d[0, 5]
    found = rerank(d[:1, :1], d[:1, 1:], d[1:, 1:], Reciprocal(k1=3, k2=2))[0]
    assert found[3] < found[4]


@pytest.mark.parametrize("levels", [None, 5, 1])
@pytest.mark.parametrize("columns", [30, 9000])
def test_smallest_is_a_stable_sort(columns, levels):
    draw = np.random.default_rng(0)
    block = draw.normal(size=(7, columns)) if levels is None else draw.integers(0, levels, (7, columns)) / 8
    assert (smallest(block, 21) == np.argsort(block, 1, kind="stable")[:, :21]).all()


def test_memory_stays_far_below_the_matrix():
    draw = np.random.default_rng(0)
    features = draw.normal(size=(300, 16))[draw.integers(0, 300, 6000)] + 0.7 * draw.normal(size=(6000, 16))
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    tracemalloc.start()
    blocks = list(reranked(lambda r, c: 1 - features[r] @ features[c].T, 100, 5900))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(np.concatenate(blocks)) == 100
    assert peak < 6000 * 6000 * 4 / 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_distances_that_are_no_numbers_name_the_image(value):
    qq, qg, gg = crowd(0)
    gg[33, 5] = value
    with pytest.raises(ValueError, match="image 45 has NaN or infinite") as caught:
        rerank(qq, qg, gg)
    assert "\n" not in str(caught.value)


def test_bad_input_is_one_sentence():
    qq, qg, gg = crowd(0)
    for given in ((qq, qg.T, gg), (gg, qg, qq), (qq[0], qg, gg)):
        with pytest.raises(ValueError, match=r"give \(Q, Q\), \(Q, G\) and \(G, G\)"):
            rerank(*given)
    for given in ({"k1": 0}, {"k2": 0}, {"k1": 3, "k2": 5}, {"weight": 1.5}):
        with pytest.raises(ValueError, match="k2 from 1 to k1"):
            Reciprocal(**given)
    with pytest.raises(ValueError, match="single-shot galleries take neither"):
        Protocol("x", identities=5, rerank=Reciprocal())
    with pytest.raises(ValueError, match="`rerank` them first"):
        rank(qg, [1] * 12, [1] * 70, [1] * 12, [2] * 70, "market1501-rerank")
