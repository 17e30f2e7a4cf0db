"""Says which folders are one checkpoint, by the names of their files."""

import re
from collections.abc import Collection
from typing import NamedTuple

INDEX = ".metadata"  # of torch.distributed.checkpoint: which bytes of which file are what
COMMIT = "commit.json"  # of `course_utils.distributed`: names, sizes and checksums of all files
SHARDED, DISTRIBUTED = "sharded checkpoint", "distributed checkpoint"
TRAINER, ACCELERATE = "Trainer checkpoint", "accelerate checkpoint"
MODEL = "model folder"
PIECES = "distributed checkpoint in safetensors files, whose number is written nowhere"

_WEIGHTS = re.compile(r"(model|pytorch_model|adapter_model)(_\d+)?\.(safetensors|bin)")
_SHARD = re.compile(r".*-\d{5}-of-\d{5}(\.[\w-]+)?\.(safetensors|bin)")
_SHARDED_INDEX = re.compile(r".*\.index(\.[\w-]+)?\.json")  # a variant, as "fp16", may be named
_PIECE = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")
_DEEPSPEED = re.compile(
    r"(\w*zero_pp_rank_\d+_)?mp_rank_\d+_(model|optim)_states\.pt|layer_\d+-model_.*_states\.pt"
)
_STATE = re.compile(
    r"((optimizer|scheduler|sampler)(_\d+)?\.(pt|bin)|scaler\.pt|rng_state(_\d+)?\.pth"
    r"|random_states_\d+\.pkl|custom_checkpoint_\d+\.pkl|dl_state_dict(_\d+)?\.bin"
    r"|training_args\.bin)"
)
TRAINER_STATE = "trainer_state.json"
# Folders of other libraries: names that all of them have, what they are, what reads them.
_FOREIGN = (
    ({".snapshot_metadata"}, "a snapshot of torchsnapshot", "torchsnapshot.Snapshot.restore"),
    ({"_CHECKPOINT_METADATA"}, "a checkpoint of Orbax", "orbax.checkpoint"),
    ({"saved_model.pb"}, "a TensorFlow SavedModel", "tf.saved_model.load"),
    ({"meta.json", "config.cfg"}, "a pipeline of spaCy", "spacy.load"),
)
_BESIDE = (".json", ".jinja", ".md", ".model", ".txt", ".yaml")  # configurations, tokenizers


class FolderKind(NamedTuple):
    """What a folder is.

    Attributes:
        kind: one of the names above.
        listed_by: the name of the file that lists its shards; None without one.
        weights: names of files of weights that no index lists.
        states: names of the files beside the weights that a run goes on from.
    """

    kind: str
    listed_by: str | None = None
    weights: tuple[str, ...] = ()
    states: tuple[str, ...] = ()

    def holds(self, name: str) -> bool:
        """Whether a file of the folder belongs to the checkpoint."""
        if self.kind == DISTRIBUTED:
            return name == COMMIT or name.endswith(".distcp")
        if name in (*self.weights, *self.states) or name.endswith(_BESIDE):
            return True
        return self.listed_by is not None and _SHARD.fullmatch(name) is not None


def folder_kind(names: Collection[str], index: str | None = None) -> FolderKind | None:
    """Return what a folder is; None for one that is no checkpoint of its own.

    Args:
        names: of all its files.
        index: the one of them by which it was named, if it was.
    """
    alone = {INDEX} == set(names)  # all else is gone
    if alone or any(name.endswith(".distcp") for name in names) or {INDEX, COMMIT} <= set(names):
        return FolderKind(DISTRIBUTED, INDEX)
    pieces = tuple(sorted(name for name in names if _PIECE.fullmatch(name)))
    if pieces and not index:
        return FolderKind(PIECES, None, pieces)
    indexes = [index] if index else sorted(filter(is_shard_index, names))
    weights = tuple(sorted(name for name in names if _WEIGHTS.fullmatch(name)))
    states = tuple(sorted(name for name in names if _STATE.fullmatch(name)))
    if len(indexes) + len(weights) == 0 or len(indexes) > 1 or (indexes and weights and not index):
        return None  # nothing, or more than one, to take for the weights
    found = FolderKind(SHARDED, indexes[0]) if indexes else FolderKind(MODEL, None, weights)
    if index:
        return found
    if any(name.startswith("random_states_") for name in states):
        return found._replace(kind=ACCELERATE, states=states)
    if len(weights) > 1:
        return None
    if TRAINER_STATE in names or "training_args.bin" in states:
        here = (TRAINER_STATE,) if TRAINER_STATE in names else ()
        return found._replace(kind=TRAINER, states=(*states, *here))
    if found.kind == MODEL and not {"config.json", "adapter_config.json"} & set(names):
        return None
    return found


def is_deepspeed(names: Collection[str]) -> bool:
    """Whether a folder is one of DeepSpeed's: its files hold flat pieces of what each rank had."""
    return {"latest", "zero_to_fp32.py"} <= set(names) or any(map(_DEEPSPEED.fullmatch, names))


def foreign_folder(names: Collection[str]) -> tuple[str, str] | None:
    """Return what a folder of another library is, and what reads it; None if not known."""
    present = set(names)
    return next(((kind, reader) for marks, kind, reader in _FOREIGN if marks <= present), None)


def is_index(name: str) -> bool:
    """Whether a file, by its name, stands for the folder in which it lies."""
    return name in (INDEX, COMMIT) or is_shard_index(name)


def is_shard_index(name: str) -> bool:
    """Whether a file, by its name, lists the shards of weights."""
    return _SHARDED_INDEX.fullmatch(name) is not None


def surplus_shards(names: Collection[str], listed: Collection[str]) -> list[str]:
    """Return the names that look like shards of the same weights and are not listed."""
    suffixes = {name.rpartition(".")[2] for name in listed}
    return sorted(
        name
        for name in names
        if _SHARD.fullmatch(name) and name not in listed and name.rpartition(".")[2] in suffixes
    )
