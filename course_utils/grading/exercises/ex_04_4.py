"""Exercise 04.4: build on meta, load, and leave nothing behind."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.grading.exercise import (
    RIGHT,
    Case,
    Observation,
    Plain,
    Task,
    Verdict,
    Watch,
    wrong,
)

TASK = Task(
    title="Meta, done right",
    difficulty="hard",
    minutes=25,
    answer="load_large",
    text="""
Write `load_large(make_model, path)`. It returns a model with the weights of the file, without
ever holding random weights in memory: the model is **made on the meta device** and the file's
tensors are **assigned**.

The models here have two things that such a load leaves wrong. Each model has a method for each:
`tie_weights()` makes its output layer use the embedding's weight again, and `make_buffers()`
computes the buffers that are not in any file, on the CPU.
""",
    hints=(
        'Make the model under `with torch.device("meta"):`.',
        "`load_state_dict` copies into tensors that hold no memory, unless told to take "
        "the file's own "
        "tensors: `assign=True`.",
        "After assigning, each name has a tensor of its own: tie again. And the buffers with "
        "`persistent=False` are still on meta: make them, outside the `with`.",
    ),
    starter='''
import torch


def load_large(make_model, path):
    """Return a model with the file's weights, made on the meta device."""
    model = make_model()
    model.load_state_dict(torch.load(path, map_location="cpu", mmap=True))
    return model
''',
)


ONCE = 2.0  # times the weights: with what PyTorch itself takes meanwhile it is 1.5, or 2.5


class _Language(nn.Module):
    """A tiny language model with tied weights, positions that are not saved, and a BatchNorm."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.words, self.width = words, width
        self.embedding = nn.Embedding(words, width)
        self.norm = nn.BatchNorm1d(width)
        self.output = nn.Linear(width, words)
        self.tie_weights()
        self.make_buffers()

    def tie_weights(self) -> None:
        self.output.weight = self.embedding.weight

    def make_buffers(self) -> None:
        positions = torch.arange(self.width, dtype=torch.float32).sqrt()
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, words: Tensor) -> Tensor:
        return self.output(self.norm(self.embedding(words) + self.positions))


def cases(seed: int) -> list[Case]:
    """Three sizes, and one for which the memory is tight."""
    return [
        {"words": 5, "width": 3, "seed": seed, "large": False},
        {"words": 7, "width": 2 + seed % 3, "seed": seed + 1, "large": False},
        {"words": 2, "width": 6, "seed": seed + 2, "large": False},
        {"words": 180_000 + seed % 997, "width": 64, "seed": seed + 3, "large": True},
    ]


def watch(case: Case) -> Watch:
    """The large case measures whether the weights were in memory once or twice."""
    return Watch(memory=case["large"])


def probe(answer: Any, case: Case) -> Plain:
    """Save a trained model; return what the answer's model is and computes."""
    torch.manual_seed(case["seed"])
    words = torch.arange(case["words"])
    torch.save(_large(case) if case["large"] else _trained(case), "model.pt")
    model = answer(lambda: _Language(case["words"], case["width"]), Path("model.pt").absolute())
    if case["large"]:
        return {"rows": [model.embedding.weight.detach()[:7].clone(),
                         model.output.weight.detach()[-7:].clone()]}  # fmt: skip
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    on_meta = sorted(name for name, tensor in tensors.items() if tensor.is_meta)
    seen: dict[str, Any] = {
        "on meta": on_meta,
        "positions saved": "positions" in model.state_dict(),
        "output": None if on_meta else model.eval()(words).detach(),
    }
    if not on_meta:
        seen["trainable"] = sorted(n for n, p in model.named_parameters() if p.requires_grad)
        model.zero_grad()
        model(words[:2]).sum().backward()
        with torch.no_grad():
            model.embedding.weight -= model.embedding.weight.grad
        seen["output weight after a step"] = model.output.weight.detach().clone()
    return seen


def read(case: Case, seen: Observation) -> Plain:
    """Add the memory that was taken, as a multiple of the weights."""
    return {**seen.data, "times in memory": seen.memory / (case["words"] * case["width"] * 4)}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Name the first thing that was left wrong."""
    if case["large"]:
        return _judge_large(case, observed, expected)
    if observed["on meta"]:
        return wrong(
            f"{observed['on meta'][0]} is still on meta: it has a shape and no numbers.",
            "nothing on meta",
            ", ".join(observed["on meta"]),
        )
    if not torch.equal(observed["output"], expected["output"]):
        return wrong("The model computes something else than the one that was saved.")
    after = "output weight after a step"
    if not torch.equal(observed[after], expected[after]):
        return wrong(
            "The output layer has a weight of its own now: after a training step the two "
            "will differ.",
            credit=0.5,
        )
    same = all(observed[key] == expected[key] for key in ("trainable", "positions saved"))
    return RIGHT if same else wrong("Parameters became buffers, or buffers parameters.")


def _trained(case: Case) -> dict[str, Tensor]:
    model = _Language(case["words"], case["width"])
    model(torch.arange(case["words"]))  # moves the running statistics
    return dict(model.state_dict())


def _large(case: Case) -> dict[str, Tensor]:
    """A state made without a model, which would take the memory more than once."""
    weight = torch.rand(case["words"], case["width"])
    numbers = {f"norm.{name}": torch.rand(case["width"]) for name in
               ("weight", "bias", "running_mean", "running_var")}  # fmt: skip
    return {
        "embedding.weight": weight,
        **numbers,
        "norm.num_batches_tracked": torch.tensor(1),
        "output.weight": weight,
        "output.bias": torch.rand(case["words"]),
    }


def _judge_large(case: Case, observed: Plain, expected: Plain) -> Verdict:
    if any(not torch.equal(a, b) for a, b in zip(expected["rows"], observed["rows"], strict=True)):
        return wrong("The model computes something else than the one that was saved.")
    times = observed["times in memory"]
    if times > ONCE:
        return wrong(
            "The model was made with random weights in memory, beside those of the file, which for "
            "a large one is too much.",
            "the weights once in memory",
            f"{times:.1f} times",
            credit=0.5,
        )
    return RIGHT
