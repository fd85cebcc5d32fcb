"""A benchmark as a sheet of its people."""

import numpy as np
from matplotlib.figure import Figure

from reidlib.data.pixels import pixels
from reidlib.data.splits import Benchmark, Split
from reidlib.figures.pictures import contact_sheet


def people_sheet(benchmark: Benchmark, people: int = 8, *, image_size: tuple[int, int] = (128, 64)) -> Figure:
    """The first test people, a column each, one image a camera: the query, or else the first gallery image.

    People of one look-alike group stand side by side. White: that camera has no image of this person.
    """
    query, gallery = benchmark.query, benchmark.gallery
    chosen = gallery.identities[:people]
    cameras = np.unique(np.concatenate([query.camera_ids, gallery.camera_ids]))
    images = np.full((len(cameras), len(chosen), 3, *image_size), 255, np.uint8)
    for split in (gallery, query):  # a query image replaces the gallery's
        rows = _firsts(split, chosen)
        for row, image in zip(rows, pixels(split.take(rows), image_size), strict=True):
            place = np.searchsorted(cameras, split.camera_ids[row]), np.searchsorted(chosen, split.person_ids[row])
            images[place] = image
    return contact_sheet(
        images.reshape(-1, 3, *image_size),
        columns=len(chosen),
        row_labels=[f"camera {camera}" for camera in cameras],
        column_labels=[f"person\n{person}" for person in chosen],
    )


def _firsts(split: Split, people: np.ndarray) -> np.ndarray:
    """The first image of each of `people` in each camera, as rows of the split."""
    cells = np.stack([split.person_ids, split.camera_ids], axis=1)
    first = np.sort(np.unique(cells, axis=0, return_index=True)[1])
    return first[np.isin(split.person_ids[first], people)]
