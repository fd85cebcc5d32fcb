"""How a model is scored: protocols, ranking without sorting, re-ranking, `evaluate`, rank lists."""

from reidlib.evaluation.protocols import PROTOCOLS, USUAL, Evaluation, Protocol, Reciprocal
from reidlib.evaluation.ranking import rank
from reidlib.evaluation.reranking import rerank
from reidlib.evaluation.scoring import RankList, evaluate, rank_list
