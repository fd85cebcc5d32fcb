"""The book's figures: arrays and frames in, a matplotlib `Figure` out.

Nothing here knows a paper or trains, and only `style` changes matplotlib's settings. Whatever a
colour says, a mark or a line style says too: the figures survive a black-and-white printer.
"""

from reidlib.figures.attention import attended, profiles
from reidlib.figures.charts import bar_panels, bars, cmc_curves, convergence, dots, leads, recall_curves
from reidlib.figures.look import style
from reidlib.figures.nuisances import losses, nuisance_curves
from reidlib.figures.pairs import pair_stages, paired_maps
from reidlib.figures.people import people_sheet
from reidlib.figures.pictures import contact_sheet, covered, part_map, rank_lists, responses
from reidlib.figures.regions import coverage
from reidlib.figures.schematic import Box, schematic
from reidlib.figures.similarity import outline, similarity_maps
from reidlib.figures.stock import stock
from reidlib.figures.summary import costs, forest, kept_shares, outcome_bars, transfers
from reidlib.figures.transfer import (
    agreement_curves,
    by_category,
    detectable,
    deviations,
    heat_map,
    printed_against_measured,
    right_by_how_many,
)
