"""Lessons 05 and 09: models that run without their Python code, checked before they are written."""

from course_utils.extras import require

require("torch", "torch")

from course_utils.portable.agreement import disagreements, probes_like, require_agreement
from course_utils.portable.cpp_runner import build_runner, find_compiler, run_in_cpp
from course_utils.portable.export import compile_package, export_onnx, export_program
from course_utils.portable.load import load_onnx, load_package, load_program
from course_utils.portable.torchscript import export_script, inspect_script, load_script

__all__ = [
    "build_runner",
    "compile_package",
    "disagreements",
    "export_onnx",
    "export_program",
    "export_script",
    "find_compiler",
    "inspect_script",
    "load_onnx",
    "load_package",
    "load_program",
    "load_script",
    "probes_like",
    "require_agreement",
    "run_in_cpp",
]
