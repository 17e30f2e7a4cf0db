"""The names that modules had when all of them lay in one folder; importing them still works."""

import importlib.util
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

# wing: former names, with "=today's name" where it has changed.
MOVED = """
    checkpoint: async_checkpoint=background manager saving=save
    ckpt: cli=main diff doctor
    devices: meta_device
    distributed: commit distributed_convert=convert distributed_files=files launch
    formats: pickles=pickle safetensors_header=safetensors trust=judge
    lessons: big_model crash_model data distributed_cost=save_cost distributed_worker=worker faults
    lessons: lesson measure model_files models plots pretrained steplog training transfer traps
    partial: renaming=names resize=shapes
    portable: agreement cpp_runner export exported=load torchscript
    resume: compare rng sampler
    safety: convert
    files: contents blocks=direct_io durable zipwriter=zip_writer
    grading.sandbox: grading.inside grading.inside.frames=inside.frames grading.plain
    grading.classroom: grading.grader grading.pages grading.recording grading.submission
"""


def todays_names() -> dict[str, str]:
    """Return today's full name of each module that has moved, by its former full name."""
    names = {}
    for line in MOVED.strip().splitlines():
        wing, _, modules = line.strip().partition(": ")
        for former, _, today in (module.partition("=") for module in modules.split()):
            last = former.rpartition(".")[2]
            names[f"course_utils.{former}"] = f"course_utils.{wing}.{today or last}"
    return names


class _Finder:  # without its base classes, which take longer to import than all of `ckpt --help`
    """Answers an import by a former name with the module itself, so that there is only one."""

    names = todays_names()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in self.names:
            return None
        found = importlib.util.find_spec(self.names[name])
        return ModuleSpec(name, self, origin=found.origin if found else None)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.names[spec.name])
        self.own_spec = module.__spec__  # the import system overwrites it
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.own_spec

    def get_code(self, name: str) -> CodeType:  # for ``python -m``
        spec = importlib.util.find_spec(self.names[name])
        return spec.loader.get_code(spec.name)  # type: ignore[union-attr]
