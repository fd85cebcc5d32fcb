"""The embedded benchmark: procedural pedestrians, rendered on demand, the same for everybody.

`make("plaza", "tiny", root)` writes a data set in Market-1501's layout, or in another one of `LAYOUTS`; `World`
renders single images with their part maps, key points and attributes.
"""

from reidlib.data.synthetic.dataset import make, named_world, read_manifest
from reidlib.data.synthetic.figure import BODY_PARTS, PARTS
from reidlib.data.synthetic.identity import Identity, visible_attributes, visible_differences
from reidlib.data.synthetic.layouts import LAYOUTS
from reidlib.data.synthetic.plan import whole_groups
from reidlib.data.synthetic.render import Rendering, World
from reidlib.data.synthetic.settings import (
    BENCHMARK_VERSION,
    CAMERAS,
    DOMAINS,
    GROUP,
    PRESETS,
    SIZES,
    Knobs,
    Rig,
    Size,
    knobs,
    world_seed,
)
