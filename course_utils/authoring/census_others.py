"""What libraries write that no extra of the project has: a census takes them where they are found.

Each function writes files into a folder, as the library itself saves a small model.
"""

import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _mlx(folder: Path) -> None:
    import mlx.core as mx

    dice, dtypes = random.Random(1), ("float32", "bfloat16", "float16", "int32", "uint8", "bool_")
    for number in range(60):
        arrays = {
            f"{dice.choice('abc')}.{i}": mx.ones([dice.randrange(1, 4)] * dice.randrange(4)).astype(
                getattr(mx, dice.choice(dtypes))
            )
            for i in range(dice.randrange(1, 5))
        }
        metadata = {"format": "mlx"} if number % 2 else {}
        mx.save_safetensors(str(folder / f"{number}.safetensors"), arrays, metadata)
        if number % 6 == 0:
            plain = {name: value.astype(mx.float32) for name, value in arrays.items()}
            mx.savez(str(folder / f"{number}.npz"), **plain)


def _torch_geometric(folder: Path) -> None:
    import torch
    from torch_geometric import EdgeIndex, Index
    from torch_geometric.data import Data, HeteroData, InMemoryDataset
    from torch_geometric.nn import models

    edges = torch.tensor([[0, 1], [1, 2]])
    data = Data(x=torch.ones(3, 2), edge_index=edges)
    graph = HeteroData()
    graph["a"].x, graph["b"].x = torch.ones(2, 2), torch.ones(3, 1)
    for kind in (("a", "to", "b"), ("b", "of", "a")):
        graph[kind].edge_index = torch.tensor([[0], [1]])
    index = {"e": EdgeIndex(edges, sparse_size=(3, 3)), "i": Index([0, 1], dim_size=3)}
    for name, state in {"data": data, "graph": graph, "index": index, "list": [data] * 2}.items():
        torch.save(state, folder / f"{name}.pt")
    InMemoryDataset.save([data, data.clone()], str(folder / "dataset.pt"))
    for name in ("GCN", "GraphSAGE", "GIN", "GAT", "EdgeCNN"):
        model = getattr(models, name)(-1, 4, 2)  # lazy: its first layer has no shape yet
        torch.save(model.state_dict(), folder / f"{name}-lazy.pt")
        model(data.x, data.edge_index)
        torch.save(model.state_dict(), folder / f"{name}.pt")
        torch.save(model, folder / f"{name}-whole.pt")


def _xgboost(folder: Path) -> None:
    import numpy as np
    import xgboost

    data = xgboost.DMatrix(np.arange(60.0).reshape(20, 3), np.arange(20) % 2)
    for booster, ending in itertools.product(("gbtree", "gblinear", "dart"), ("json", "ubj")):
        model = xgboost.train({"booster": booster}, data, 2)
        model.save_model(folder / f"{booster}.{ending}")


def _catboost(folder: Path) -> None:
    import catboost
    import numpy as np

    model = catboost.CatBoostRegressor(iterations=2, verbose=0, allow_writing_files=False)
    model.fit(np.arange(60.0).reshape(20, 3), np.arange(20) % 2)
    for kind in ("cbm", "onnx", "json"):
        model.save_model(str(folder / f"model.{kind}"), format=kind)


def _lightgbm(folder: Path) -> None:
    import lightgbm
    import numpy as np

    data = lightgbm.Dataset(np.arange(150.0).reshape(50, 3), np.arange(50) % 2)
    lightgbm.train({"verbose": -1}, data, 2).save_model(folder / "model.lgb")


def _keras(folder: Path) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras
    import torch

    for number, layers in enumerate(([], [keras.layers.Dense(3)], [keras.layers.Dropout(0.1)])):
        model = keras.Sequential([keras.layers.Input((3,)), *layers, keras.layers.Dense(2)])
        for name in (f"{number}.keras", f"{number}.h5"):
            model.save(folder / name)
        torch.save(model.state_dict(), folder / f"{number}.pt")
        torch.save(model, folder / f"{number}-whole.pt")


def _spacy(folder: Path) -> None:
    import spacy

    language = spacy.blank("en")
    categories: Any = language.add_pipe("textcat")
    for label in "AB":
        categories.add_label(label)
    language.initialize()
    language.to_disk(folder / "pipeline")


def _torchsnapshot(folder: Path) -> None:
    import torch
    from torchsnapshot import Snapshot

    model = torch.nn.Linear(3, 2)
    state = {"model": model, "optimizer": torch.optim.Adam(model.parameters())}
    Snapshot.take(str(folder / "snapshot"), state)


def _torch_optimizer(folder: Path) -> None:
    import torch
    import torch_optimizer

    for name, kind in vars(torch_optimizer).items():
        if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
            continue
        model = torch.nn.Linear(8, 2)
        try:
            make: Any = kind
            optimizer = make(model.parameters(), lr=0.1)
            model(torch.ones(1, 8)).sum().backward()
            optimizer.step()
        except (TypeError, RuntimeError, AttributeError):
            continue  # made of another one, or wants second derivatives
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 1}
        torch.save(state, folder / f"{name}.pt")


OTHERS: dict[str, Callable[[Path], None]] = {
    "mlx": _mlx, "torch_geometric": _torch_geometric, "xgboost": _xgboost, "catboost": _catboost,
    "lightgbm": _lightgbm, "keras": _keras, "spacy": _spacy, "torchsnapshot": _torchsnapshot,
    "torch_optimizer": _torch_optimizer,
}  # fmt: skip
