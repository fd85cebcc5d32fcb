"""The benchmark chapter as a paper without rows: it shares the notebooks' parameters and profiles. Data only."""

from reidlib.recipe import Paper, Profile

PAPER = Paper(
    key="data",
    title="The benchmarks",
    rows=(),
    claims=(),
    profiles=(
        ("smoke", Profile("tiny")),
        ("laptop", Profile("small")),
        ("gpu", Profile("market")),
        ("paper", Profile("market")),
    ),
)
