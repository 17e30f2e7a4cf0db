"""Where the tensors of a safetensors file begin in larger ones, of which they are blocks.

``torch.distributed.checkpoint.HuggingFaceStorageWriter`` notes it in the metadata.
"""

import json
from collections.abc import Mapping


def offsets_of(metadata: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """Return the offset of each tensor along its dimensions; nothing for an ordinary file."""
    try:
        noted = json.loads(metadata.get("DCP_SHARDING_INFO", "{}"))
        found = {name: tuple(map(int, place["saved_offsets"])) for name, place in noted.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return {} if any(start < 0 for starts in found.values() for start in starts) else found
