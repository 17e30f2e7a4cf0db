"""Follows texts and memo through the instructions."""

import pickletools
import zipfile


def imports(path):
    with zipfile.ZipFile(path) as archive:
        data = archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))
    memo, texts, names, last = {}, [], set(), None
    for op, argument, _ in pickletools.genops(data):
        if op.name == "MEMOIZE":
            memo[len(memo)] = last
        elif "PUT" in op.name:
            memo[int(argument)] = last
        elif "UNICODE" in op.name or "GET" in op.name:
            last = argument if "UNICODE" in op.name else memo[int(argument)]
            texts.append(last)
        else:
            last = None
            if op.name == "GLOBAL":
                names.add(argument.replace(" ", "."))
            elif op.name == "STACK_GLOBAL":
                names.add(f"{texts[-2]}.{texts[-1]}")
    return names
