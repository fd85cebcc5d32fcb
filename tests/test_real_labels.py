"""`rank` on the identities and cameras of the real test sets, and always on drawn ones of the same make-up.

The real arrays may not be passed on: REIDLIB_SHARED_DATA names a folder that holds `market1501/queryID.mat`,
`queryCam.mat`, `testID.mat` and `testCam.mat`, and `cuhk03/cuhk03_new_protocol_config_detected.mat`.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from reidlib.evaluation import rank
from reidlib.evaluation.ranking import Labels

SHARED = os.environ.get("REIDLIB_SHARED_DATA", "")
real = pytest.mark.skipif(not SHARED, reason="REIDLIB_SHARED_DATA is not set")
KINDS = ["drawn", pytest.param("real", marks=real)]


def array(path):
    found = loadmat(Path(SHARED, path))
    (name,) = (key for key in found if not key.startswith("_"))
    return found[name].ravel().astype(np.int64)


def drawn(people, cameras, queries, images, junk=0, distractors=0):
    """Labels as the real ones are made up: at most a query a person and camera, gallery images in order of names."""
    draw = np.random.default_rng(0)
    cells = np.sort(draw.permutation(people * cameras)[:queries])
    query_ids, query_cams = cells // cameras + 1, cells % cameras + 1
    ids, cams = draw.integers(1, people + 1, images), draw.integers(1, cameras + 1, images)
    order = np.lexsort((cams, ids))
    more = np.repeat([-1, 0], [junk, distractors])
    gallery_ids = np.concatenate([more, ids[order]])
    gallery_cams = np.concatenate([draw.integers(1, cameras + 1, len(more)), cams[order]])
    return query_ids, gallery_ids, query_cams, gallery_cams


def market(kind):
    if kind == "drawn":
        return drawn(750, 6, 3368, 13115, junk=3819, distractors=2798)
    return tuple(array(f"market1501/{name}.mat") for name in ("queryID", "testID", "queryCam", "testCam"))


def cuhk03_np(kind):
    if kind == "drawn":
        return drawn(700, 2, 1400, 5332)
    found = loadmat(Path(SHARED, "cuhk03/cuhk03_new_protocol_config_detected.mat"))
    query, gallery = (found[name].ravel().astype(int) - 1 for name in ("query_idx", "gallery_idx"))
    ids, cams = (found[name].ravel().astype(np.int64) for name in ("labels", "camId"))
    return ids[query], ids[gallery], cams[query], cams[gallery]


@real
def test_market1501_counts_are_the_published_ones():
    query_ids, gallery_ids, query_cams, gallery_cams = market("real")
    assert (len(query_ids), len(gallery_ids)) == (3368, 19732)
    assert ((gallery_ids == -1).sum(), (gallery_ids == 0).sum()) == (3819, 2798)
    assert len(np.unique(np.stack([query_ids, query_cams]), axis=1).T) == 3368  # one a person and camera
    assert set(query_cams) == set(gallery_cams) == set(range(1, 7))
    assert len(np.unique(query_ids)) == 750
    assert Labels(query_ids, gallery_ids, query_cams, gallery_cams).matched().all()


def sorted_scores(row, person, camera, gallery_ids, gallery_cams):
    """(ap, first hit) of one query, or None: the gallery without junk, sorted."""
    same = gallery_ids == person
    kept = ~((same & (gallery_cams == camera)) | (gallery_ids == -1))
    hits = np.flatnonzero(same[kept][np.argsort(row[kept], kind="stable")])
    return (np.mean(np.arange(1, len(hits) + 1) / (hits + 1)), hits[0]) if len(hits) else None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("test_set", "spread"), [(market, 3.0), (cuhk03_np, 2.0)])
def test_ranks_are_those_of_a_sorted_gallery(test_set, spread, kind):
    query_ids, gallery_ids, query_cams, gallery_cams = test_set(kind)
    asked = np.sort(np.random.default_rng(1).permutation(len(query_ids))[:150])
    draw = np.random.default_rng(2)
    # A position for each person, 0 and -1 among them, and its images around it; rounded, so that many tie.
    place = draw.normal(size=(max(gallery_ids.max(), query_ids.max()) + 2, 4)).astype(np.float32)
    q = place[query_ids[asked] + 1] + spread / 10 * draw.normal(size=(len(asked), 4))
    g = place[gallery_ids + 1] + spread / 10 * draw.normal(size=(len(gallery_ids), 4))
    distance = np.round(((q[:, None] - g) ** 2).sum(2), 2).astype(np.float32)
    got = rank(distance, query_ids[asked], gallery_ids, query_cams[asked], gallery_cams)
    rows = zip(distance, query_ids[asked], query_cams[asked], strict=True)
    expected = [sorted_scores(row, person, camera, gallery_ids, gallery_cams) for row, person, camera in rows]
    found = [scores for scores in expected if scores is not None]
    assert len(expected) - len(found) == got.dropped
    np.testing.assert_allclose(got.ap, [ap for ap, _ in found], rtol=1e-12)
    assert got.first_hit.tolist() == [hit for _, hit in found]
    assert 0.05 < got.mean_ap < 0.95
