"""VIPeR: `cam_a/000_45.bmp` and `cam_b/000_90.bmp`, a person and the viewing angle, one image a person and camera.

Gray et al. 2007. Half of the 632 people train, half test, drawn by the number of the split.
"""

from pathlib import Path

import numpy as np

from reidlib.data.cuhk01 import random_split
from reidlib.data.layout import Layout, find, images, labelled, look_alikes, read_names
from reidlib.data.splits import Benchmark

VIPER = Layout("VIPeR", "VIPeR, VIPeR.v1.0, viper", ("viper",), (("cam_a/",), ("cam_b/",)))


def load_viper(root: str | Path, split: int) -> Benchmark:
    """The benchmark in or below `root`, its people numbered from 1 (in the file names from 0).

    ValueError names people who are under one camera only, and files of another name.
    """
    found = find(root, VIPER)
    files = [images(folder) for folder in found.parts]
    names = [read_names(paths, r"(\d+)_\d+\.", "000_45.bmp (person 0, seen at 45 degrees)")[:, 0] for paths in files]
    people = np.concatenate(names)
    cameras = np.repeat((1, 2), [len(paths) for paths in files])
    groups = look_alikes(found.folder)
    everybody = labelled("train", [*files[0], *files[1]], people + (people.min() == 0), cameras, groups)
    return random_split("viper", everybody, len(everybody.identities) // 2, split)
