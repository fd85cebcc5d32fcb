"""DukeMTMC-reID: Market-1501's folders, `0001_c2_f0046182.jpg`.

Ristani et al. 2016, Zheng et al. 2017. Duke University withdrew DukeMTMC in April 2019: the people in it had
not consented to be filmed for this. It is read where a copy is at hand, so that published numbers can be checked; it
should not be passed on, and new work should use other data.
"""

from pathlib import Path

from reidlib.data.layout import Layout, find
from reidlib.data.market1501 import MARKET1501, read_folders
from reidlib.data.splits import Benchmark

DUKEMTMC = Layout("DukeMTMC-reID", "DukeMTMC-reID, dukemtmc-reid, dukemtmcreid", ("duke",), MARKET1501.needs)


def load_dukemtmc(root: str | Path) -> Benchmark:
    """The benchmark in or below `root`; 408 of the gallery's 1,110 people, seen by one camera only, are not asked for.

    ValueError names files whose names say no person and camera.
    """
    found = find(root, DUKEMTMC)
    return read_folders("dukemtmc", found, r"(\d+)_c(\d+)_f\d", "0001_c2_f0046182.jpg (person 1, camera 2)")
