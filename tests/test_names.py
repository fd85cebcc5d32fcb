"""What is said to a name that is not among those there are."""

import re

import pytest

from reidlib.names import choose, hint


@pytest.mark.parametrize(
    ("given", "known", "meant"),
    [
        ("persnnet", ("mls", "personnet"), ": did you mean 'personnet'?"),
        ("Market", ("viper", "market1501"), ": did you mean 'market1501'?"),  # as it begins, in whatever case
        ("3", (3, 5), ": did you mean 3?"),
        ("zzz", ("mls", "personnet"), ""),
        ("", ("mls", "personnet"), ""),
    ],
)
def test_the_nearest_name_is_asked_for(given, known, meant):
    assert hint(given, known) == meant


def test_an_unknown_name_is_answered_in_one_sentence():
    said = re.escape("size 'smal' is unknown: did you mean 'small'? choose from small, big")
    with pytest.raises(ValueError, match=f"^{said}$"):
        choose("size", "smal", ["small", "big"])
    with pytest.raises(ValueError, match=r"^size 'x' is unknown: choose from small$"):
        choose("size", "x", {"small": 1})


def test_a_choice_is_given_back_or_refused():
    assert choose("kernel", (3, 5), [(3, 5), 3]) == (3, 5)
    with pytest.raises(ValueError, match=r"kernel 4 is unknown: choose from \(3, 5\), 3"):
        choose("kernel", 4, [(3, 5), 3])
