"""Exact search against whole numbers, its memory, and FAISS where it is installed."""

import importlib.util
import sys
import tracemalloc

import numpy as np
import pytest

from reidlib.evaluation import rank
from reidlib.evaluation import search as module
from reidlib.evaluation.search import Index, Neighbours, feature_distances, recall, search

needs_faiss = pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="FAISS is an optional extra")


def features(seed, count, dimensions=32, people=20, noise=0.7, dtype=np.float16):
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(people, dimensions))
    found = centres[draw.integers(0, people, count)] + noise * draw.normal(size=(count, dimensions))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(dtype)


def whole_numbers(queries, gallery, k):
    """Neighbours by integer arithmetic: a float16 below 1 is a multiple of 2**-24."""
    a, b = ((part.astype(np.float64) * 2**24).astype(np.int64) for part in (queries, gallery))
    assert ((a / 2**24).astype(np.float16) == queries).all()
    return np.argsort(-(a[:, None] * b).sum(2), axis=1, kind="stable")[:, :k]


@pytest.fixture
def small(monkeypatch):
    """Tiles of 50 images and blocks of seven queries."""
    monkeypatch.setattr(module, "TILE_BYTES", 50 * 4 * 32)
    monkeypatch.setattr(module, "ROWS", 7)
    monkeypatch.setattr(module, "PAIRS", 11)


@pytest.mark.parametrize("k", [1, 10, 49, 80, 333])
def test_search_is_exact(small, k):
    queries, gallery = features(1, 20), features(2, 333)
    found = search(queries, gallery, k)
    assert found.index.tolist() == whole_numbers(queries, gallery, k).tolist()
    exact = 1 - (queries.astype(float)[:, None] * gallery.astype(float)[found.index]).sum(2)
    np.testing.assert_array_equal(found.distance, exact)


def test_ties_go_to_the_lower_index_in_any_tile(small):
    gallery = np.concatenate([features(3, 4)] * 60)
    queries = features(4, 9)
    assert search(queries, gallery, 70).index.tolist() == whole_numbers(queries, gallery, 70).tolist()


def test_near_ties_below_the_rounding_of_float32(small):
    # Similarities that differ by one part in 2**26 of those that float32 products cannot tell apart.
    gallery = np.zeros((120, 32), np.float64)
    gallery[:, 0] = 1
    gallery[:, 1] = np.random.default_rng(0).permutation(120) * 2.0**-30
    queries = np.zeros((3, 32))
    queries[:, :2] = [1, 1]
    assert (search(queries, gallery.astype(np.float32), 20).index == np.argsort(-gallery[:, 1])[:20]).all()


def test_a_gallery_that_gets_better_and_better(small):
    queries, gallery = features(5, 9), features(6, 333)
    gallery = gallery[np.argsort(gallery.astype(float) @ queries[0].astype(float))]
    assert search(queries, gallery, 12).index.tolist() == whole_numbers(queries, gallery, 12).tolist()


def test_a_memory_mapped_gallery_stays_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TILE_BYTES", 1 << 20)
    gallery = np.memmap(tmp_path / "gallery.f16", np.float16, "w+", shape=(40_000, 256))
    for start in range(0, len(gallery), 4000):
        gallery[start : start + 4000] = features(start, 4000, 256, noise=2)
    queries = features(7, 20, 256, noise=2)
    tracemalloc.start()
    found = search(queries, gallery, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6 < gallery.nbytes
    product = queries.astype(float) @ gallery.astype(float).T
    assert found.index.tolist() == np.argsort(-product, 1, kind="stable")[:, :10].tolist()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_distances_from_features_are_ranked_as_a_matrix(small, dtype, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", 3 * 4 * 333)
    queries, gallery = features(8, 20, dtype=dtype), features(9, 333, dtype=dtype)
    draw = np.random.default_rng(0)
    labels = draw.integers(1, 9, 20), draw.integers(-1, 9, 333), draw.integers(1, 4, 20), draw.integers(1, 4, 333)
    got = rank(feature_distances(queries, gallery), *labels)
    matrix = rank(1 - queries.astype(float) @ gallery.astype(float).T, *labels)
    assert [len(block) for block in feature_distances(queries, gallery)] == [3] * 6 + [2]
    assert got.mean_ap == pytest.approx(matrix.mean_ap, abs=1e-6)


def test_recall():
    exact = Neighbours(np.array([[1, 2], [3, 4]]), np.zeros((2, 2)))
    assert recall(exact, exact) == 1
    assert recall(Neighbours(np.array([[2, -1], [7, 8]]), np.zeros((2, 2))), exact) == 1 / 4
    with pytest.raises(ValueError, match="search both equally deep"):
        recall(Neighbours(np.array([[1]]), np.zeros((1, 1))), exact)


@needs_faiss
def test_an_index_finds_most_and_with_more_effort_more():
    queries, gallery = features(10, 50), features(11, 5000)
    exact = search(queries, gallery, 10)
    flat = Index(gallery, "Flat").search(queries, 10)
    assert recall(flat, exact) > 0.99  # float32 products
    np.testing.assert_allclose(flat.distance, exact.distance, atol=1e-6)
    index = Index(gallery, "IVF32,SQfp16", sample=2000)
    recalls = [recall(index.search(queries, 10, f"nprobe={n}"), exact) for n in (1, 4, 32)]
    assert recalls == sorted(recalls)
    assert recalls[0] < recalls[-1]
    assert recalls[-1] > 0.98
    with pytest.raises(ValueError, match="index 'IFV32' is not one of FAISS's"):
        Index(gallery, "IFV32")


def test_without_faiss_one_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match="pip install faiss-cpu") as caught:
        Index(features(0, 10))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, g: (q[:, :-1], g), r"queries of shape \(5, 31\) and a gallery of \(30, 32\)"),
        (lambda q, g: (q, g[0]), "with one D"),
        (lambda q, g: (q, g[:0]), "with one D"),
        (lambda q, g: (q[:0], g), "no query was given; give at least one"),
        (lambda q, g: (q, g, 0), "k=0 for a gallery of 30"),
        (lambda q, g: (q, g, 31), "k=31 for a gallery of 30"),
        (lambda q, g: (q, np.where(np.arange(30)[:, None] == 7, np.inf, g)), "gallery images 0 to 29 have NaN"),
        (lambda q, g: (np.where(np.arange(5)[:, None] == 2, np.nan, q), g), "the queries have NaN"),
    ],
)
def test_bad_input_is_one_sentence(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        search(*change(features(0, 5), features(1, 30)))
    assert "\n" not in str(caught.value)
