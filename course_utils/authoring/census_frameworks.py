"""What scikit-learn, Lightning, accelerate, transformers, peft, timm and torchao write: a census.

Each function writes files into a folder, as the library itself saves a small model.
"""

import copy
import itertools
import logging
import pickle
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOST = 200  # files of one writer


def _sklearn(folder: Path) -> None:
    import joblib
    import numpy as np
    from sklearn.utils import all_estimators

    rng, made = random.Random(6), 0
    x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, kind in all_estimators():
            try:
                fitted = kind().fit(np.abs(x), y)
            except Exception:
                continue
            if rng.random() < 0.5:
                joblib.dump(fitted, folder / f"{name}.joblib", compress=rng.choice([0, 0, 3]))
            else:
                data = pickle.dumps(fitted, protocol=rng.choice([2, 4, 5]))
                (folder / f"{name}.pkl").write_bytes(data)
            made += 1
            if made == MOST:
                return


def _transformers(folder: Path) -> None:
    import torch
    import transformers

    small = {
        "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 20,
        "intermediate_size": 8, "num_key_value_heads": 2,
    }  # fmt: skip
    names = ["Bert", "Llama", "Mistral", "Qwen2", "Roberta", "Electra", "GPTNeoX", "Phi", "Gemma"]
    dtypes = (torch.float32, torch.float16, torch.bfloat16)
    for name, dtype, size in itertools.product(names, dtypes, ("1GB", "2KB")):
        config = getattr(transformers, f"{name}Config")(**small)
        model = transformers.AutoModel.from_config(config).to(dtype)
        model.save_pretrained(folder / f"{name}-{dtype}-{size}", max_shard_size=size)


def _accelerate(folder: Path) -> None:
    import torch
    from accelerate import Accelerator

    optimizers = (torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad)
    for number, (kind, safe) in enumerate(itertools.product(optimizers, (True, False))):
        accelerator, model = Accelerator(cpu=True), torch.nn.Linear(300, 2)
        optimizer = kind(model.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        model, optimizer, schedule = accelerator.prepare(model, optimizer, schedule)
        model(torch.ones(1, 300)).sum().backward()
        optimizer.step()
        accelerator.save_state(folder / f"state{number}", safe_serialization=safe)
        accelerator.save_model(model, folder / f"m{number}", "1KB", safe_serialization=safe)


def _lightning(folder: Path) -> None:
    import lightning
    import torch

    logging.getLogger("lightning").setLevel(logging.ERROR)
    quiet: dict[str, Any] = {
        "accelerator": "cpu", "logger": False, "enable_progress_bar": False,
        "enable_model_summary": False, "enable_checkpointing": False,
    }  # fmt: skip
    data = torch.utils.data.TensorDataset(torch.ones(4, 3))
    optimizers = ("SGD", "Adam", "AdamW", "Adagrad", "RMSprop", "NAdam", "RAdam", "Adamax")
    for name, steps in itertools.product(optimizers, (1, 3)):

        class Small(lightning.LightningModule):
            def __init__(self, width: int = 3, optimizer: str = name) -> None:
                super().__init__()
                self.save_hyperparameters()
                self.layer = torch.nn.Linear(width, 1)

            def training_step(self, batch: Any, _: int) -> Any:
                return self.layer(batch[0]).sum()

            def configure_optimizers(self) -> Any:
                return getattr(torch.optim, self.hparams["optimizer"])(self.parameters(), lr=0.1)

        trainer = lightning.Trainer(max_steps=steps, **quiet)
        trainer.fit(Small(), torch.utils.data.DataLoader(data))
        trainer.save_checkpoint(folder / f"{name}-{steps}.ckpt")


def _peft(folder: Path) -> None:
    import peft
    import torch

    for number, rank in itertools.product(range(4), (1, 2, 4)):
        model = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(number + 1)))
        for kind in (peft.LoraConfig, peft.LoHaConfig, peft.LoKrConfig):
            config = kind(r=rank, target_modules=[str(i) for i in range(number + 1)])
            adapted = peft.get_peft_model(copy.deepcopy(model), config)
            adapted.save_pretrained(str(folder / f"{kind.__name__}-{number}-{rank}"))


def _timm(folder: Path) -> None:
    import timm
    import torch
    from timm.optim import create_optimizer_v2
    from timm.utils import CheckpointSaver

    for name in timm.list_models("test_*")[:25]:
        model = timm.create_model(name)
        torch.save(model.state_dict(), folder / f"{name}.pth")
        optimizer = create_optimizer_v2(model, "lamb", lr=0.1)
        (folder / name).mkdir()
        CheckpointSaver(model, optimizer, checkpoint_dir=str(folder / name)).save_checkpoint(0, 0.5)


def _torchao(folder: Path) -> None:
    import torch
    from torchao import quantization

    for number, name in enumerate(n for n in dir(quantization) if n.endswith("Config")):
        model = torch.nn.Sequential(torch.nn.Linear(256, 128), torch.nn.ReLU())
        try:
            quantization.quantize_(model.bfloat16(), getattr(quantization, name)())
            torch.save(model.state_dict(), folder / f"{number}.pt")
        except Exception:
            continue


FRAMEWORKS: dict[str, Callable[[Path], None]] = {
    "sklearn": _sklearn, "transformers": _transformers, "accelerate": _accelerate,
    "lightning": _lightning, "peft": _peft, "timm": _timm, "torchao": _torchao,
}  # fmt: skip
