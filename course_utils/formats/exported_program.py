"""Exported programs (``.pt2``): what their graphs would have Python look up and evaluate.

``torch.export.load`` resolves each operator's name by attribute access from the module ``torch``,
gives symbolic sizes to ``sympy.sympify``, which evaluates them as Python, and imports the modules
that the description of a container names. All three come from the file.
(``torch/_export/serde/serialize.py``, ``deserialize_operator`` and ``_parse_sym_expr``;
``torch/utils/_pytree.py``, ``enum_object_hook`` and ``_defaultdict_deserialize``.)
"""

import json
import re
from collections.abc import Iterator
from typing import Any

# Operators of torch's own on tensors and sizes. `from_file` opens the file that the program names;
# other libraries' operators may do anything.
OPERATORS = re.compile(
    r"(torch\.ops\.(aten|prims|quantized_decomposed)\.(?!from_file\.|save\.)\w+(\.\w+)?"
    r"|torch\.ops\.higher_order\.(associative_scan|cond|flex_attention|map_impl|scan|while_loop"
    r"|wrap_with_autocast|wrap_with_set_grad_enabled)"
    r"|_operator\.(abs|add|and_|eq|floordiv|ge|getitem|gt|invert|le|lt|mod|mul|ne|neg|not_|or_|pos"
    r"|pow|sub|truediv)"
    r"|torch\.sym_\w+|math\.\w+)(?<!__)\Z"
)
NATIVE = (".so", ".o", ".cubin", ".hsaco", ".ptx", ".dylib", ".dll", ".pyd")
# What torch's own symbolic sizes are made of: numbers, symbols, operators, and these functions.
FUNCTIONS = frozenset(
    """FloorDiv ModularIndexing Where PythonMod Mod CleanDiv CeilToInt FloorToInt CeilDiv IntTrueDiv
    FloatTrueDiv LShift RShift IsNonOverlappingAndDenseIndicator TruncToFloat TruncToInt RoundToInt
    RoundDecimal ToFloat FloatPow PowByNatural Identity Max Min Eq Ne Lt Le Gt Ge And Or Not Add Mul
    Pow Integer Float Piecewise True False""".split()  # noqa: SIM905 - a list takes a line each
)
SYMBOL = re.compile(r"[a-z]{1,2}\d+\Z")  # s0, s77, u3, zf1
SYMBOLS = re.compile(r"Symbol\('\w+'(, \w+=True)*\)")  # as sympy.srepr writes them
WORDS = re.compile(r"[^\W\d]\w*")
SIZE = re.compile(r"[\w\s+*/%(),.<>=!&|~-]*\Z", re.ASCII)


def program_problems(text: bytes) -> Iterator[str]:
    """Yield what in a program's JSON would do more than describe a graph of operators.

    Raises:
        ValueError: it is not JSON.
    """
    pending: list[tuple[str, Any]] = [("", json.loads(text))]
    while pending:
        key, value = pending.pop()
        if isinstance(value, dict):
            pending += value.items()
            if _imports(value):
                yield f"imports what a container names: {str(value)[:80]!r}"
        elif isinstance(value, list):
            pending += [(key, item) for item in value]
        elif key in ("in_spec", "out_spec", "context") and isinstance(value, str):
            pending.append((key, json.loads(value)))
        elif key in ("target", "as_operator") and isinstance(value, str) and _reaches_out(value):
            yield f"calls {value[:80]!r}, which is no operator of torch on tensors"
        elif key in ("expr_str", "as_expr") and isinstance(value, str) and not _is_size(value):
            yield f"evaluates {value[:80]!r}, which is no size"
        elif key == "guards_code" and value:
            yield f"holds Python code for a guard: {str(value)[:80]!r}"


def _imports(node: dict[str, Any]) -> bool:
    if "default_factory_module" in node:
        named = (node["default_factory_module"], node.get("default_factory_name"))
        return named not in [("builtins", name) for name in ("dict", "int", "list", "set")]
    return "__enum__" in node


def _reaches_out(target: str) -> bool:
    looked_up = target.startswith(("torch", "_operator", "math", "#"))
    return looked_up and not OPERATORS.match(target)


def _is_size(text: str) -> bool:
    text = SYMBOLS.sub("s0", text)
    words = WORDS.findall(text)
    known = all(word in FUNCTIONS or SYMBOL.match(word) for word in words)
    return known and bool(SIZE.match(text)) and len(text) < 10_000
