"""Lesson 08: checkpoints by many processes, which load into any number of them."""

from course_utils.extras import require

require("torch", "torch", "safetensors")

from course_utils.distributed.convert import from_one_file, to_one_file
from course_utils.distributed.folder import continue_from
from course_utils.distributed.launch import launch, process_group
from course_utils.distributed.sharded import (
    AsyncSaver,
    ShardedRun,
    load_sharded,
    load_sharded_model,
    save_sharded,
)

__all__ = [
    "AsyncSaver",
    "ShardedRun",
    "continue_from",
    "from_one_file",
    "launch",
    "load_sharded",
    "load_sharded_model",
    "process_group",
    "save_sharded",
    "to_one_file",
]
