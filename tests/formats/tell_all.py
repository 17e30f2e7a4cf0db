"""Prints, one file a line, all that `course_utils.formats` says of the files of a folder.

``python tell_all.py FOLDER`` runs on any Python with the standard library alone.
"""

import hashlib
import json
import sys
from pathlib import Path

from course_utils.errors import CheckpointError
from course_utils.formats.elements import blocks
from course_utils.formats.evidence import Evidence
from course_utils.formats.open import open_contents
from course_utils.formats.readings import inspect
from course_utils.formats.source import Memory
from course_utils.formats.values import plain_values
from course_utils.formats.verify import verify


def main(folder):
    for path in sorted(Path(folder).iterdir()):
        data = path.read_bytes()
        print(json.dumps([path.name, described(data), audited(data)], default=repr))
    print(sys.version.split()[0])


def described(data):
    try:
        contents = open_contents(Memory(data), "x")
        values, others = plain_values(contents)
        return {
            "kind": contents.kind,
            "records": list(contents.records.values()),
            "tensors": {n: [t, elements(contents, n)] for n, t in contents.tensors.items()},
            "others": list(contents.others.values()),
            "globals": sorted(contents.globals),
            "values": [repr(values), others],
            "verified": repr(verify(contents)),
        }
    except CheckpointError as error:
        return f"{type(error).__name__}: {error}"


def elements(contents, name):
    try:
        return hashlib.sha256(b"".join(blocks(contents, name))).hexdigest()
    except (CheckpointError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def audited(data):
    evidence = Evidence()
    kinds = inspect(Memory(data), "", evidence)
    return [kinds, sorted(evidence.imports), list(evidence.calls), repr(list(evidence.findings))]


if __name__ == "__main__":
    main(sys.argv[1])
