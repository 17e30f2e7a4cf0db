"""Takes the last two texts before STACK_GLOBAL, and misses those that come from the memo."""

import pickletools
import zipfile

MESSAGE = "collections.Counter is imported too"


def imports(path):
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        data = archive.read(name)
    texts, names = [], set()
    for op, argument, _ in pickletools.genops(data):
        if "UNICODE" in op.name:
            texts.append(argument)
        elif op.name == "GLOBAL":
            names.add(argument.replace(" ", "."))
        elif op.name == "STACK_GLOBAL":
            names.add(".".join(texts[-2:]))
    return names
