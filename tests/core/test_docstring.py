"""Descriptions from docstrings of all three styles."""

from __future__ import annotations

import pytest

from responses_ws._core.docstring import read_docstring

REST = """The weather.

    It is asked for anew each time, see :func:`other`.

    :param city: its name,
        in English: no other
    :param int days: how many
    :type days: int
    :keyword unit: C or F

    :raises ValueError: never
    :returns: a text
        of two lines
    """

GOOGLE = """The weather.

    It is asked for anew each time, see :func:`other`.

    Args:
        city (str, optional): its name,
            in English: no other
        days: how many

        *unit: C or F
        empty:

    Returns:
        text: of two lines
    """

NUMPY = """The weather.

    It is asked for anew each time, see :func:`other`.

    Parameters
    ----------
    city : str
        its name,
        in English: no other
    days
        how many
    *unit, empty : {"C", "F"}
        C or F

    Returns
    -------
    text : str
        of two lines
    """

DESCRIPTION = "The weather.\n\nIt is asked for anew each time, see :func:`other`."
CITY = {"city": "its name, in English: no other", "days": "how many", "unit": "C or F"}


@pytest.mark.parametrize(
    ("docstring", "parameters"),
    [(REST, CITY), (GOOGLE, CITY), (NUMPY, {**CITY, "empty": "C or F"})],
    ids=["reST", "Google", "NumPy"],
)
def test_each_style(docstring: str, parameters: dict[str, str]) -> None:
    """The description ends where the first section begins; an entry goes on over indented lines."""
    assert read_docstring(docstring) == (DESCRIPTION, parameters)


@pytest.mark.parametrize(
    ("docstring", "description", "parameters"),
    [
        (None, "", {}),
        ("", "", {}),
        ("One line.", "One line.", {}),
        ("Returns: the list of arguments.", "Returns: the list of arguments.", {}),
        ("All the arguments\nParameters are kept", "All the arguments\nParameters are kept", {}),
        ("See\n:class:`X`: it is\nmore", "See\n:class:`X`: it is\nmore", {}),
        ("X.\n\nExample:\n    f(1)", "X.\n\nExample:\n    f(1)", {}),
        (":param a: x", "", {"a": "x"}),
        (":ivar a: x\n:var b: y\n:cvar c: z", "", {"a": "x", "b": "y", "c": "z"}),
        ("A.\n\nAttributes:\n    a: x", "A.", {"a": "x"}),
        ("A.\n\nArgs:\n  a: x\n\n  b (dict[str, int]): y\n\nAnd that is all.", "A.", {"a": "x", "b": "y"}),
        ("A.\n\nArgs:\n    a: x\n\n    Raises nothing: never\nRaises:\n    ValueError: no", "A.", {"a": "x"}),
        ("A.\n\nRaises\n------\nValueError\n    never\n\nParameters\n----------\na\n    x", "A.", {"a": "x"}),
    ],
)
def test_other_docstrings(docstring: str | None, description: str, parameters: dict[str, str]) -> None:
    """What only looks like a section is text; sections may come in any order."""
    assert read_docstring(docstring) == (description, parameters)
