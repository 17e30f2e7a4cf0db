#!/usr/bin/env bash
# One would have guessed: what safetensors.torch.save writes, safetensors.torch.load reads.
# Seen: the two block-scaled dtypes of torch (float4_e2m1fn_x2, float8_e8m0fnu) are written by
# `save`, and read by `load_file`, but `load`, which takes the same bytes from memory, raises
# KeyError: it has a table of names of its own, in which both are missing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy safetensors==0.8.0
"$folder/venv/bin/python" - "$folder/x.safetensors" <<'PYTHON'
import sys

import safetensors
import torch
from safetensors.torch import load, load_file, save

print("safetensors", safetensors.__version__, "torch", torch.__version__)
seen = {}
for dtype in (torch.float8_e4m3fn, torch.float8_e8m0fnu, torch.float4_e2m1fn_x2):
    data = save({"scale": torch.zeros(4, 2, dtype=torch.uint8).view(dtype)})
    with open(sys.argv[1], "wb") as file:
        file.write(data)
    from_file = load_file(sys.argv[1])["scale"].dtype
    try:
        from_memory = str(load(data)["scale"].dtype)
    except KeyError as error:
        from_memory = f"KeyError: {error}"
    seen[str(dtype)] = from_memory
    print(f"{dtype}: load_file gives {from_file}, load gives {from_memory}")
assert seen == {
    "torch.float8_e4m3fn": "torch.float8_e4m3fn",
    "torch.float8_e8m0fnu": "KeyError: 'F8_E8M0'",
    "torch.float4_e2m1fn_x2": "KeyError: 'F4'",
}, "the behaviour has changed"
PYTHON
