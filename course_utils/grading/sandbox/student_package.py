"""The `course_utils` that a sandbox sees: what exercises may use, and no answer to any of them."""

import ast
import shutil
from pathlib import Path

import course_utils
from course_utils.grading.exercise import all_exercises, module_name

# What an answer and a probe may import. No module here may hold the solution of an exercise.
SANDBOX_MODULES = (
    "errors",
    "tables",
    "lessons.data",
    "lessons.lesson",
    "lessons.models",
    "lessons.plots",
    "resume.compare",
    "resume.rng",
)
OWN_MODULES = (
    "exercise",
    "sandbox.acting",
    "sandbox.observing",
    "sandbox.parcels",
    "sandbox.plain",
    "sandbox.inside",
)

PACKAGE = Path(course_utils.__file__).parent
STAND_IN = '''"""In the sandbox, checks are made by the grader; these do nothing."""


def check(exercise_id, answer):
    return None


def solution(exercise_id):
    print("This set is graded: no solutions here.")
'''


def write_student_package(folder: Path) -> None:
    """Write the sandbox's `course_utils` into a folder."""
    target = folder / "course_utils"
    (target / "grading" / "exercises").mkdir(parents=True)
    for name in ("__init__", "former_names", *SANDBOX_MODULES):
        path = Path(*name.split(".")).with_suffix(".py")
        (target / path).parent.mkdir(exist_ok=True)
        shutil.copy(PACKAGE / path, target / path)
    for wing in {name.partition(".")[0] for name in SANDBOX_MODULES if "." in name}:
        code = (PACKAGE / wing / "__init__.py").read_text(encoding="utf-8")
        (target / wing / "__init__.py").write_text(_present(code), encoding="utf-8")
    (target / "grading" / "sandbox").mkdir()
    (target / "grading" / "sandbox" / "__init__.py").touch()
    for path in (Path("grading", *name.split(".")) for name in OWN_MODULES):
        if (PACKAGE / path).is_dir():
            shutil.copytree(PACKAGE / path, target / path, ignore=_no_caches)
        else:
            shutil.copy((PACKAGE / path).with_suffix(".py"), (target / path).with_suffix(".py"))
    (target / "grading" / "__init__.py").write_text(STAND_IN, encoding="utf-8")
    (target / "grading" / "exercises" / "__init__.py").touch()
    for name in map(module_name, all_exercises()):
        path = Path("grading") / "exercises" / f"{name}.py"
        code = slice_of((PACKAGE / path).read_text(encoding="utf-8"), "probe", "read")
        (target / path).write_text(code, encoding="utf-8")


def slice_of(source: str, *names: str) -> str:
    """Return the part of a module that some of its functions need, and nothing else.

    So the probe goes into the sandbox without the cases, the judge and what they know.

    Args:
        source: a module's code: imports, assignments, functions and classes.
        names: what to keep, if it is there, with all it refers to.
    """
    tree = ast.parse(source)
    definitions = {n: node for node in tree.body for n in _defined(node)}
    needed, new = set(), definitions.keys() & set(names)
    while new:
        needed |= new
        used = {n for one in new if one in definitions for n in _names(definitions[one])}
        new = (used & definitions.keys()) - needed
    kept = [part for node in tree.body if (part := _keep(node, needed)) is not None]
    return ast.unparse(ast.Module(body=kept, type_ignores=[])) + "\n"


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names]
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [name for target in targets if target is not None for name in _names(target)]


def _names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _keep(node: ast.stmt, needed: set[str]) -> ast.stmt | None:
    if isinstance(node, ast.Import | ast.ImportFrom):
        aliases = [a for a in node.names if (a.asname or a.name).split(".")[0] in needed]
        if not aliases:
            return None
        if isinstance(node, ast.Import):
            return ast.Import(names=aliases)
        return ast.ImportFrom(module=node.module, names=aliases, level=node.level)
    return node if needed & set(_defined(node)) else None


def _present(source: str) -> str:
    """Return the imports of a wing's public names, but for those that the sandbox lacks."""
    modules = {f"course_utils.{name}" for name in SANDBOX_MODULES}
    kept = [
        n for n in ast.parse(source).body if isinstance(n, ast.ImportFrom) and n.module in modules
    ]
    return ast.unparse(ast.Module(body=[*kept], type_ignores=[])) + "\n"


def _no_caches(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__"]
