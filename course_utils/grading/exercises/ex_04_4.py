"""Exercise 04.4: build on meta, load, and leave nothing behind."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong

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


class _Language(nn.Module):
    """A tiny language model with tied weights, positions that are not saved, and a BatchNorm."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.words, self.width = words, width
        self.made_on = str(torch.empty(0).device)
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
    """Three sizes."""
    return [
        {"words": 5, "width": 3, "seed": seed},
        {"words": 7, "width": 2 + seed % 3, "seed": seed + 1},
        {"words": 2, "width": 6, "seed": seed + 2},
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Save a trained model; return what the answer's model is and computes."""
    torch.manual_seed(case["seed"])
    words = torch.arange(case["words"])
    trained = _Language(case["words"], case["width"])
    trained(words)  # moves the running statistics
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.pt")
        torch.save(trained.state_dict(), path)
        made: list[_Language] = []

        def make_model() -> _Language:
            made.append(_Language(case["words"], case["width"]))
            return made[-1]

        model = answer(make_model, path)
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        on_meta = sorted(name for name, tensor in tensors.items() if tensor.is_meta)
        return {
            "made on": [each.made_on for each in made],
            "on meta": on_meta,
            "tied": model.output.weight is model.embedding.weight,
            "trainable": sorted(n for n, p in model.named_parameters() if p.requires_grad),
            "positions saved": "positions" in model.state_dict(),
            "output": None if on_meta else model.eval()(words).detach(),
        }


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Name the first thing that was left wrong."""
    if observed["on meta"]:
        return wrong(
            f"{observed['on meta'][0]} is still on meta: it has a shape and no numbers.",
            "nothing on meta",
            ", ".join(observed["on meta"]),
        )
    if not torch.equal(observed["output"], expected["output"]):
        return wrong("The model computes something else than the one that was saved.")
    if not observed["tied"]:
        return wrong(
            "The output layer has a weight of its own now: after a training step the two "
            "will differ.",
            credit=0.5,
        )
    if observed["made on"] != ["meta"]:
        return wrong(
            "The model was made with random weights in memory, which for a large one is too much.",
            "made once, on meta",
            observed["made on"],
            credit=0.5,
        )
    same = all(observed[key] == expected[key] for key in ("trainable", "positions saved"))
    return RIGHT if same else wrong("Parameters became buffers, or buffers parameters.")
