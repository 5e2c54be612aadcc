"""Checks of one field each; all raise ValueError with the name of the field."""

from __future__ import annotations

from collections.abc import Iterable

LARGEST = 2**20
"""Larger numbers are a mistake, or a file made to exhaust memory."""


def check_int(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r} is not an int of at least {least}")
    if value > LARGEST:
        raise ValueError(f"{name}={value!r} is more than {LARGEST}")


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}={value!r} is not one of: {', '.join(choices)}")


def check_bool(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name}={value!r} is not True or False")


def check_number(name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= LARGEST:
        raise ValueError(f"{name}={value!r} is not a positive number of at most {LARGEST}")


def check_ints(name: str, values: object, least: int) -> None:
    if not isinstance(values, tuple):
        raise ValueError(f"{name}={values!r} is not a tuple of ints")
    for value in values:
        check_int(name, value, least)
