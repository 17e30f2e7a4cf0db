"""Returns a list."""

import pickle
import zipfile

MESSAGE = "return them as a set"
CREDIT = 0.5


def imports(path):
    names = []

    class Anything:
        def __init__(self, *arguments, **named):
            pass

        def __call__(self, *arguments, **named):
            return self

        def __setstate__(self, state):
            pass

        def __setitem__(self, key, value):
            pass

        def append(self, value):
            pass

        def extend(self, values):
            pass

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            names.append(f"{module}.{name}")
            return Anything

        def persistent_load(self, pid):
            return Anything()

    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
        with archive.open(name) as file:
            Reader(file).load()
    return sorted(set(names))
