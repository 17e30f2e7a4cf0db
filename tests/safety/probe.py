"""Counts calls that a pickle makes. Imported by the files that the fuzzers make."""

calls = 0


def run(*_):
    global calls
    calls += 1
    return run


class Runs:
    def __init__(self, *_):
        run()

    def __setstate__(self, _):
        run()

    __new__ = lambda cls, *_: run() and object.__new__(cls)  # noqa: E731
