"""Names and values that are chosen from a list, and what is said to one that is not in it."""

import difflib
from collections.abc import Iterable
from typing import Any


def hint(given: object, known: Iterable[Any]) -> str:
    """The end of a sentence, ": did you mean ...?", by how one of `known` begins or is spelled; empty if none does."""
    spelled = {str(one).lower(): one for one in known}
    text = str(given).lower()
    begin = [one for one in spelled if text and one.startswith(text)]
    near = begin or difflib.get_close_matches(text, spelled, n=1, cutoff=0.4)
    return f": did you mean {spelled[near[0]]!r}?" if near else ""


def choose(kind: str, given: Any, known: Iterable[Any]) -> Any:
    """`given` if it is one of `known`; ValueError says it is no `kind`, asks which was meant, and lists them all."""
    known = list(known)
    if given not in known:
        meant = hint(given, known) or ":"
        raise ValueError(f"{kind} {given!r} is unknown{meant} choose from {', '.join(map(str, known))}")
    return given
