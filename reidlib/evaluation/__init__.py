"""How a model is scored: protocols, ranking without sorting, `evaluate`, rank lists."""

from reidlib.evaluation.protocols import PROTOCOLS, Evaluation, Protocol
from reidlib.evaluation.ranking import rank
from reidlib.evaluation.scoring import RankList, evaluate, rank_list

__all__ = ["PROTOCOLS", "Evaluation", "Protocol", "RankList", "evaluate", "rank", "rank_list"]
