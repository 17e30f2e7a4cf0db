#!/usr/bin/env bash
# One would have guessed: a tensor that torch.save takes, with the old file format as with the new,
# torch.load gives back.
# Seen: with `_use_new_zipfile_serialization=False` every tensor of a dtype that came without a
# storage class of its own (uint16, uint32, the float8 kinds) is written without an error or a
# warning, and no torch.load reads that file, restricted or not: AttributeError, because the reader
# asks the storage class for a dtype. Older dtypes, bfloat16 among them, come back.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy
"$folder/venv/bin/python" - "$folder/x.pt" <<'PYTHON'
import sys

import torch

print("torch", torch.__version__)
seen = {}
for name in ("float32", "bfloat16", "uint16", "uint32", "float8_e4m3fn", "float8_e8m0fnu"):
    tensor = torch.arange(8, dtype=torch.uint8).view(getattr(torch, name))
    for zipped in (True, False):
        torch.save(tensor, sys.argv[1], _use_new_zipfile_serialization=zipped)
        for weights_only in (True, False):
            try:
                loaded = torch.load(sys.argv[1], weights_only=weights_only)
                found = torch.equal(loaded.view(torch.uint8), tensor.view(torch.uint8))
            except AttributeError as error:
                found = str(error)
            seen[name, zipped, weights_only] = found
    old = seen[name, False, True]
    print(f"{name}: the new format gives it back; the old one: {old}")
NEW = {"uint16", "uint32", "float8_e4m3fn", "float8_e8m0fnu"}
LACKS = "type object 'torch.storage.UntypedStorage' has no attribute 'dtype'"
for (name, zipped, _), found in seen.items():
    assert found == (LACKS if name in NEW and not zipped else True), "the behaviour has changed"
PYTHON
