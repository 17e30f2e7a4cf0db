#!/usr/bin/env bash
# One would have guessed: a value whose type torch.load takes by default is taken whatever it holds.
# Seen: bytes load, an empty bytearray loads, empty bytes are refused. Pickle protocol 2, which
# torch.save writes, has no instruction for bytes: those with content become a call of
# _codecs.encode, which the safe loader allows, empty ones a call of bytes, which it does not.
# A checkpoint saves without a word, and cannot be loaded once some field happens to be empty.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy
"$folder/venv/bin/python" - "$folder/state.pt" <<'PYTHON'
import pickle
import sys

import torch

print("torch", torch.__version__)
seen = {}
for note in (b"abc", b"", bytearray(b"abc"), bytearray()):
    torch.save({"weight": torch.ones(2), "note": note}, sys.argv[1])
    try:
        loaded = torch.load(sys.argv[1])["note"] == note
        seen[repr(note)] = "loads" if loaded else "differs"
    except pickle.UnpicklingError as error:
        reason = str(error).partition("WeightsUnpickler error: ")[2].partition(" was not")[0]
        seen[repr(note)] = f"refused: {reason}"
    print(f"{note!r}: {seen[repr(note)]}")
assert seen == {
    "b'abc'": "loads",
    "b''": "refused: Unsupported global: GLOBAL bytes",
    "bytearray(b'abc')": "loads",
    "bytearray(b'')": "loads",
}, "the behaviour has changed"
PYTHON
