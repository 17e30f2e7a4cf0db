"""What other libraries write, by the libraries themselves: every number is what they load."""

import pytest
import torch
from in_process import runner
from torch import nn

from course_utils.anatomy.archive import read_archive, read_tensors
from course_utils.ckpt.diff import diff
from course_utils.errors import UnsupportedCheckpointError
from course_utils.partial.plan import plan_partial_load
from course_utils.safety.audit import audit
from course_utils.safety.convert import convert

pytestmark = pytest.mark.filterwarnings("ignore")
EXTRA = "it is in the extra 'frameworks'"


run = pytest.fixture(runner)


def tensors_of(path):
    archive = read_archive(path)
    return read_tensors(archive, [n for n, t in archive.tensors.items() if not t.part_of])


def assert_same(found, wanted, prefix=""):
    assert wanted
    for name, value in wanted.items():
        assert torch.equal(found[f"{prefix}{name}"], value), name


def flat_tensors(state, prefix=""):
    items = state.items() if isinstance(state, dict) else enumerate(state)
    found = {}
    for key, value in items:
        if isinstance(value, torch.Tensor):
            found[f"{prefix}{key}"] = value
        elif isinstance(value, dict | list | tuple):
            found |= flat_tensors(value, f"{prefix}{key}.")
    return found


def bert(transformers):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        vocab_size=50, max_position_embeddings=16,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config)


def randomized(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def test_shards_of_transformers(tmp_path, run):
    transformers = pytest.importorskip("transformers", reason=EXTRA)
    bert(transformers).save_pretrained(tmp_path / "a", max_shard_size="8KB")
    assert len(list((tmp_path / "a").glob("model-*"))) > 1
    wanted = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "a").state_dict()
    assert_same(tensors_of(tmp_path / "a"), wanted)
    for command in ("inspect", "verify", "audit", "doctor"):
        assert run(command, tmp_path / "a")[0] == 0
    convert(tmp_path / "a", tmp_path / "one.safetensors")
    assert diff(tmp_path / "a", tmp_path / "one.safetensors", tensors_only=True).same
    other = randomized(bert(transformers))
    plan_partial_load(other, tmp_path / "a").apply()
    assert_same(other.state_dict(), wanted)


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {"input_ids": torch.arange(5) + index, "labels": torch.tensor(index % 2)}


@pytest.fixture(scope="module")
def trainer_folder(tmp_path_factory):
    transformers = pytest.importorskip("transformers", reason=EXTRA)
    pytest.importorskip("accelerate", reason=EXTRA)
    folder = tmp_path_factory.mktemp("trainer")
    arguments = transformers.TrainingArguments(
        str(folder), max_steps=2, save_steps=2, report_to=[], use_cpu=True,
        per_device_train_batch_size=2, disable_tqdm=True,
    )  # fmt: skip
    transformers.Trainer(bert(transformers), arguments, train_dataset=Rows()).train()
    return folder / "checkpoint-2"


def test_a_folder_of_the_trainer(trainer_folder, tmp_path, run):
    import transformers

    found = tensors_of(trainer_folder)
    wanted = transformers.BertForSequenceClassification.from_pretrained(trainer_folder)
    assert_same(found, wanted.state_dict(), "model.")
    optimizer = torch.load(trainer_folder / "optimizer.pt")
    assert_same(found, flat_tensors(optimizer), "optimizer.")
    status, text = run("inspect", trainer_folder)
    assert status == 0
    for line in (
        "model.safetensors: 41 tensors, plain data",
        "optimizer.pt: 123 tensors, plain data",
        "scheduler.pt: 0 tensors, plain data",
        "rng_state.pth: 1 tensor, needs these globals",
        "training_args.bin: 0 tensors, would run code",
        "weights under: model ",
    ):
        assert line in text
    assert run("verify", trainer_folder)[0] == 0
    assert audit(trainer_folder).verdict.value == "would run code"  # what training_args.bin calls
    assert "a training checkpoint" in run("doctor", trainer_folder)[1]
    assert diff(trainer_folder, trainer_folder).same
    convert(trainer_folder, tmp_path / "weights.safetensors", key="model")
    assert_same(tensors_of(tmp_path / "weights.safetensors"), wanted.state_dict())
    other = randomized(bert(transformers))
    plan_partial_load(other, trainer_folder).apply()
    assert_same(other.state_dict(), wanted.state_dict())


@pytest.mark.parametrize("safe", [True, False])
def test_what_accelerate_saves(tmp_path, run, safe):
    accelerate = pytest.importorskip("accelerate", reason=EXTRA)
    accelerator = accelerate.Accelerator(cpu=True)
    model = nn.Linear(300, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)
    model(torch.ones(1, 300)).sum().backward()
    optimizer.step()
    accelerator.save_state(tmp_path / "state", safe_serialization=safe)
    accelerator.save_model(model, tmp_path / "m", max_shard_size="1KB", safe_serialization=safe)
    wanted = model.state_dict()
    found = tensors_of(tmp_path / "state")
    assert_same(found, wanted, "model.")
    assert_same(found, flat_tensors(torch.load(tmp_path / "state" / "optimizer.bin")), "optimizer.")
    assert_same(tensors_of(tmp_path / "m"), wanted)
    for folder in ("state", "m"):
        assert run("inspect", tmp_path / folder)[0] == run("verify", tmp_path / folder)[0] == 0
        other = nn.Linear(300, 2)
        plan_partial_load(other, tmp_path / folder).apply()
        assert_same(other.state_dict(), wanted)
    assert "random_states_0.pkl" in str(audit(tmp_path / "state"))


def test_a_checkpoint_of_lightning(tmp_path, run):
    lightning = pytest.importorskip("lightning", reason=EXTRA)

    class Small(lightning.LightningModule):
        def __init__(self, width=3):
            super().__init__()
            self.save_hyperparameters()
            self.layer = nn.Linear(width, 1)

        def training_step(self, batch, _):
            return self.layer(batch[0]).sum()

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    trainer = lightning.Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    data = torch.utils.data.TensorDataset(torch.ones(4, 3))
    model = Small()
    trainer.fit(model, torch.utils.data.DataLoader(data, batch_size=1))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert "weights under: state_dict " in run("inspect", tmp_path / "a.ckpt")[1]
    for command in ("verify", "audit", "doctor"):
        assert run(command, tmp_path / "a.ckpt")[0] == 0
    found = tensors_of(tmp_path / "a.ckpt")
    assert_same(found, flat_tensors(torch.load(tmp_path / "a.ckpt")))
    convert(tmp_path / "a.ckpt", tmp_path / "w.safetensors", key="state_dict")
    assert_same(tensors_of(tmp_path / "w.safetensors"), model.state_dict())
    other = Small()
    plan_partial_load(other, tmp_path / "a.ckpt").apply()
    assert_same(other.state_dict(), model.state_dict())


def test_an_adapter_of_peft(tmp_path, run):
    transformers = pytest.importorskip("transformers", reason=EXTRA)
    peft = pytest.importorskip("peft", reason=EXTRA)
    model = peft.get_peft_model(bert(transformers), peft.LoraConfig(target_modules=["query"]))
    randomized(model).save_pretrained(tmp_path / "adapter")
    assert_same(tensors_of(tmp_path / "adapter"), peft.get_peft_model_state_dict(model))
    for command in ("inspect", "verify", "audit", "doctor"):
        assert run(command, tmp_path / "adapter")[0] == 0


def test_a_checkpoint_of_timm(tmp_path, run):
    timm = pytest.importorskip("timm", reason=EXTRA)
    from timm.utils import CheckpointSaver

    model = timm.create_model("test_resnet.r160_in1k", pretrained=False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    saver = CheckpointSaver(model, optimizer, checkpoint_dir=str(tmp_path))
    saver.save_checkpoint(0, 0.5)
    path = tmp_path / "last.pth.tar"
    assert_same(tensors_of(path), model.state_dict(), "state_dict.")
    for command in ("inspect", "verify", "audit", "doctor"):
        assert run(command, path)[0] == 0
    convert(path, tmp_path / "w.safetensors", key="state_dict")
    other = timm.create_model("test_resnet.r160_in1k", pretrained=False)
    timm.models.load_checkpoint(other, str(tmp_path / "w.safetensors"))
    assert_same(other.state_dict(), model.state_dict())
    third = timm.create_model("test_resnet.r160_in1k", pretrained=False)
    plan_partial_load(third, path).apply()
    assert_same(third.state_dict(), model.state_dict())


def test_quantized_tensors_of_torchao(tmp_path, run):
    torchao = pytest.importorskip("torchao", reason=EXTRA)
    from torchao.quantization import Int8WeightOnlyConfig

    model = nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 4))
    torchao.quantization.quantize_(model, Int8WeightOnlyConfig())
    torch.save(model.state_dict(), tmp_path / "q.pt")
    status, text = run("inspect", tmp_path / "q.pt")
    assert status == 0
    assert "2 that are not read" in text
    assert "Int8Tensor" in text
    assert run("verify", tmp_path / "q.pt")[0] == 0
    assert audit(tmp_path / "q.pt").verdict.value == "needs these globals"
    with pytest.raises(UnsupportedCheckpointError, match="Int8Tensor"):
        convert(tmp_path / "q.pt", tmp_path / "q.safetensors")
    wanted = torch.load(tmp_path / "q.pt", weights_only=False)["0.weight"]  # our own file
    parts = {n: t for n, t in read_archive(tmp_path / "q.pt").tensors.items() if t.part_of}
    codes = read_tensors(read_archive(tmp_path / "q.pt"), parts)
    assert any(torch.equal(value, wanted.qdata) for value in codes.values())
