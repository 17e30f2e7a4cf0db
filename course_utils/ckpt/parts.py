"""What a checkpoint consists of: weights, optimizers, schedulers, random numbers, position.

Parts are known by their structure, as torch's own ``state_dict`` methods make it, and not by words
in their names: a configuration may name an optimizer, and be none.
"""

from collections.abc import Iterator
from typing import Any

from course_utils.formats.contents import SAFETENSORS, Contents
from course_utils.formats.key_names import key_name
from course_utils.formats.pickle_nodes import Call, describe
from course_utils.formats.tensors import OtherTensor, TensorInfo, is_tensor, tensor_at

GENERATOR_BYTES = 5056  # of torch.get_rng_state() on the processor
POSITIONS = {
    "step", "steps", "global_step", "global_steps", "epoch", "epochs", "current_epoch", "epoch_idx",
    "iteration", "iterations", "iter", "it", "batch", "batch_idx", "num_updates",
}  # fmt: skip
CONFIGURATIONS = {
    "args", "cfg", "conf", "config", "configuration", "ds_config", "hparams", "hyper_parameters",
    "hyperparameters", "options", "opt", "params", "settings",
}  # fmt: skip
OPTIMIZERS = {
    "optimizer", "optimizers", "optimizer_state", "optimizer_states", "optimizer_state_dict",
    "optim", "optim_state", "optim_state_dict",
}  # fmt: skip
# What torch's optimizers keep for a parameter, by the names they give it.
MOMENTS = {
    "step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "grad_avg",
    "acc_delta", "sum", "exp_inf", "eta", "mu", "mu_product", "ax", "prev", "step_size", "row_var",
    "col_var", "variance",
}  # fmt: skip
_LOOKED_AT = (dict, list, tuple, Call)
COUNTS = {"int64", "int32", "int16", "bool"}
DEEPEST = 64  # containers in containers that are looked into


class Parts:
    """The parts of a checkpoint by their dotted path; the path of the whole file is empty.

    Attributes:
        weights: state_dicts of modules: dictionaries of tensors alone, not all of them counts.
        optimizers: paths of optimizers' states.
        schedulers: paths of schedulers' states.
        generators: paths of states of random number generators.
        positions: paths of numbers that say where the run stood.
        empty: paths named like an optimizer that hold an empty dictionary or list.
    """

    def __init__(self) -> None:
        self.weights: dict[str, dict[str, Any]] = {}
        self.optimizers: list[str] = []
        self.schedulers: list[str] = []
        self.generators: list[str] = []
        self.positions: list[str] = []
        self.empty: list[str] = []

    @property
    def is_training(self) -> bool:
        """Whether there are weights, and something else beside them."""
        return bool(self.weights) and "" not in self.weights


def find_parts(contents: Contents) -> Parts:
    """Return the parts of a checkpoint or safetensors file."""
    parts, seen = Parts(), set()
    if contents.kind == SAFETENSORS:
        parts.weights[""] = dict(contents.tensors)
        return parts
    pending: list[tuple[str, str, Any, int]] = [("", "", contents.tree, 0)]
    while pending:
        path, key, node, depth = pending.pop()
        if _take(parts, path, key, node) or id(node) in seen or depth > DEEPEST:
            continue
        seen.add(id(node))
        inner = []
        for name, value in _children(node):
            if isinstance(value, _LOOKED_AT):
                inner.append((_join(path, name), name, value, depth + 1))
            if key not in CONFIGURATIONS and _is_position(name, value):
                parts.positions.append(_join(path, name))
        pending += reversed(inner)
    return parts


def role_of(contents: Contents, parts: Parts) -> str:
    """Say in a few words what a file is for."""
    tree = contents.tree
    if "" in parts.weights:
        return "weights"
    for paths, name in (
        (parts.optimizers, "an optimizer's state"),
        (parts.schedulers, "a scheduler's state"),
        (parts.generators, "a random number generator's state"),
    ):
        if paths == [""]:
            return name
    if isinstance(tree, Call):
        return "one tensor" if is_tensor(tree) else f"a pickled {describe(tree.function)}"
    if parts.weights:
        training = parts.optimizers or parts.schedulers or parts.generators
        return "a training checkpoint" if training else "weights and other values"
    found = [name for name in ("optimizers", "schedulers", "generators") if getattr(parts, name)]
    if len(found) == 1:
        return {"generators": "states of random number generators"}.get(
            found[0], f"states of {found[0]}"
        )
    return "tensors and other values" if contents.tensors or contents.others else "plain values"


def _take(parts: Parts, path: str, key: str, node: Any) -> bool:
    """Add a node that is a part; whether it was one, and so is not looked into."""
    if _is_optimizer(node) or (key in OPTIMIZERS and _holds_moments(node)):
        parts.optimizers.append(path)
    elif _is_scheduler(node):
        parts.schedulers.append(path)
    elif _is_generator(node):
        parts.generators.append(path)
    elif _is_weights(node):
        parts.weights[path] = node
    elif key in OPTIMIZERS and isinstance(node, dict | list) and not node:
        parts.empty.append(path)
    else:
        return False
    return True


def _children(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        yield from ((key_name(key), value) for key, value in node.items())
    elif isinstance(node, list | tuple):
        yield from ((str(i), value) for i, value in enumerate(node))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _is_optimizer(node: Any) -> bool:
    if not isinstance(node, dict):
        return False
    if isinstance(node.get("state"), list) and "hypers" in node:  # fastai's
        return True
    if not isinstance(node.get("state"), dict):
        return False
    groups = node.get("param_groups")
    return (
        isinstance(groups, list | tuple)
        and bool(groups)
        and all(isinstance(group, dict) and "params" in group for group in groups)
    )


def _holds_moments(node: Any) -> bool:
    """Whether there are moments in it, at most three keys deep, as a converted run has them."""
    pending = [(node, 0)]
    while pending:
        inner, depth = pending.pop()
        for name, value in inner.items() if isinstance(inner, dict) else ():
            if name in MOMENTS and isinstance(value, Call) and is_tensor(value):
                return True
            if depth < 3:
                pending.append((value, depth + 1))
    return False


def _is_scheduler(node: Any) -> bool:
    if not isinstance(node, dict) or not isinstance(node.get("last_epoch"), int):
        return False
    return any(key in node for key in ("_step_count", "base_lrs", "_last_lr", "_schedulers"))


def _is_generator(node: Any) -> bool:
    """Whether it is the state of torch's, Python's or NumPy's generator."""
    if isinstance(node, Call):
        info = _tensor(node)
        return (
            isinstance(info, TensorInfo)
            and info.dtype == "uint8"
            and info.shape == (GENERATOR_BYTES,)
        )
    if isinstance(node, dict):
        return isinstance(node.get("bit_generator"), str) and "state" in node
    if isinstance(node, list | tuple) and len(node) in (3, 5):
        python = node[0] == 3 and isinstance(node[1], list | tuple) and len(node[1]) == 625
        return python or node[0] == "MT19937"
    return False


def _is_weights(node: Any) -> bool:
    if not isinstance(node, dict) or not node:
        return False
    tensors = all(isinstance(key, str) and is_tensor(value) for key, value in node.items())
    return tensors and any(_may_be_weights(value) for value in node.values())


def _may_be_weights(node: Call) -> bool:
    """Whether a tensor has fractions, or codes for them: integers alone are places and counts."""
    info = _tensor(node)
    if not isinstance(info, TensorInfo):
        return info is not None
    return not (info.dtype in COUNTS or _is_generator(node))


def _is_position(key: str, value: Any) -> bool:
    if key not in POSITIONS:
        return False
    if isinstance(value, Call):
        info = _tensor(value)
        return isinstance(info, TensorInfo) and info.shape == () and info.dtype.startswith("int")
    return isinstance(value, int) and not isinstance(value, bool)


def _tensor(node: Call) -> TensorInfo | OtherTensor | None:
    return tensor_at("", node) if is_tensor(node) else None
