"""The fault table: what its rows are made with."""

import os
import pathlib
import shutil

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Slow on purpose: the machine is to have time for what is tested.
DEMO = ("--source", "demo:", "--rate", "10", "--realtime")
ROWS: list = []


class Skip(Exception):
    """This row cannot be tried here."""


def row(name: str, expected: str):
    """A row: what is done, and what must be seen. The function returns what was seen, or raises."""
    def add(function):
        ROWS.append((name, expected, function))
        return function
    return add


def needs_root():
    if os.geteuid() != 0:
        raise Skip("needs root")


def needs(*programs: str):
    missing = [p for p in programs if not shutil.which(p)]
    if missing:
        raise Skip(f"needs {', '.join(missing)}")
