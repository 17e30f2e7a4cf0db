"""Writes a transposed tensor in the order of its memory."""

import json
import struct

import torch

MESSAGE = "but turned has changed"
NAMES = {torch.float32: "F32", torch.float16: "F16", torch.int64: "I64"}


def write_safetensors(tensors, path):
    header, data = {}, b""
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        raw = bytes(tensor.untyped_storage())[:size]
        header[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + size],
        }
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
