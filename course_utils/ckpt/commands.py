"""What ``ckpt`` can be told: its commands, arguments and options, in one table."""

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, NoReturn

from course_utils.ckpt.output import terminal_width

DESCRIPTION = "Look at PyTorch checkpoints and safetensors files. Nothing in a file is ever run."
EXIT_STATUS = """\
exit status:
  0    fine
  1    a problem was found in a file; for diff: a difference
  2    it could not be done: wrong usage, a missing or unreadable file, another format
  130  interrupted

A file that is no checkpoint, found in a folder, is listed and changes nothing. Hidden files and
folders in a folder are left out. COMMAND --help shows examples."""


class Option(NamedTuple):
    """An option: its name, what it does, the name of its value, whether it may be repeated."""

    name: str
    text: str
    value: str | None = None
    repeated: bool = False


class Command(NamedTuple):
    """A command.

    Attributes:
        text: what it does, in a line.
        arguments: names of what it takes; ``files`` are any number of files and folders.
        options: beside ``--help``.
        examples: command lines without the program's name.
    """

    text: str
    arguments: tuple[str, ...]
    options: tuple[Option, ...]
    examples: tuple[str, ...]


_JSON = Option("--json", "print JSON, as docs/ckpt-json.md describes it")
_FORCE = Option("--force", "replace the file OUT if there is one")
_STRICT = Option("--strict", "exit status 1 for files without checksums as well")
_PREFIX = Option("--prefix", "what to take away; default: what wrappers add", "PREFIX")
_ONLY_TENSORS = Option("--tensors-only", "compare tensors by name, and nothing else of the files")
_IGNORE = Option(
    "--ignore",
    "leave out of the comparison, with commas between: order, layout, sharing, device, "
    "requires_grad, class, attributes",
    "ASPECTS",
)
_CHOICE = (
    Option("--key", "only what stands under this key, for example model", "KEY"),
    Option("--only", "only tensors whose name matches; may be repeated", "PATTERN", True),
    Option("--exclude", "no tensor whose name matches; may be repeated", "PATTERN", True),
    Option("--rename", "pattern and replacement; may be repeated", "OLD=NEW", True),
    Option("--dtype", "of floats: float64, float32, float16, bfloat16", "DTYPE"),
)
SHELLS = ("bash", "zsh", "fish")

COMMANDS = {
    "inspect": Command(
        "show keys, shapes, dtypes, bytes, devices and shared memory",
        ("files",), (_JSON,), ("inspect model.pt", "inspect --json model.pt", "inspect runs/"),
    ),
    "verify": Command(
        "compare every record with its checksum",
        ("files",), (_STRICT, _JSON),
        ("verify model.pt", "verify checkpoints/", "verify --strict 'runs/**/*.pt'"),
    ),
    "audit": Command(
        "say what loading the file would import and call (judged for torch 2.14)",
        ("files",), (_JSON,), ("audit stranger.pt", "audit downloads/"),
    ),
    "doctor": Command(
        "find what commonly goes wrong, and say what to do",
        ("files",), (_JSON,), ("doctor model.pt", "doctor checkpoints/"),
    ),
    "diff": Command(
        "show which tensors and values differ, and by how much",
        ("first", "second"), (_ONLY_TENSORS, _IGNORE, _JSON),
        ("diff before.pt after.pt", "diff --tensors-only model.pt model.safetensors"),
    ),
    "convert": Command(
        "write the tensors to a safetensors file, or from one to a checkpoint",
        ("file", "out"), (*_CHOICE, _FORCE, _JSON),
        (
            "convert model.pt model.safetensors",
            "convert --key model --dtype bfloat16 run.pt weights.safetensors",
            "convert model.safetensors model.pt",
        ),
    ),
    "strip-prefix": Command(
        "write a copy without a prefix in its keys",
        ("file", "out"), (_PREFIX, _FORCE, _JSON),
        ("strip-prefix wrapped.pt plain.pt", "strip-prefix --prefix backbone. in.pt out.pt"),
    ),
    "slim": Command(
        "write a copy without bytes that no tensor shows",
        ("file", "out"), (_FORCE, _JSON), ("slim large.pt small.pt",),
    ),
    "rescue": Command(
        "save from a damaged checkpoint the tensors that can be proved",
        ("file", "out"), (_FORCE, _JSON), ("rescue damaged.pt rescued.pt",),
    ),
    "completion": Command(
        "print a script that completes commands, options and files in a shell",
        ("shell",), (), ("completion bash >> ~/.bashrc", "completion fish | source"),
    ),
}  # fmt: skip

_HELP = {
    "files": "files, folders, or patterns in quotes",
    "first": "a file",
    "second": "the file to compare it with",
    "file": "the file to read; it is never written to",
    "out": "the file to write",
    "shell": "bash, zsh or fish",
}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options given; ``command`` is the command's name.

    Raises:
        SystemExit: the arguments make no sense (2), or help or the version was printed (0).
    """
    parser = _parser()
    wanted = next((a for a in arguments if not a.startswith("-")), None)
    if wanted is not None and wanted not in COMMANDS:
        parser.error(f"there is no command '{wanted}'{_did_you_mean(wanted, COMMANDS)}")
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = [option.name for option in COMMANDS[options.command].options]
        parser.error(f"there is no option '{unknown[0]}'{_did_you_mean(unknown[0], known)}")
    return options


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\nSee {self.prog} --help.\n")


class _Version(argparse.Action):
    """Prints the version; finding it out takes longer than all else here."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        import course_utils

        print(f"ckpt {course_utils.__version__}")
        parser.exit(0)


def _parser() -> _Parser:
    layout = partial(
        argparse.RawDescriptionHelpFormatter, max_help_position=18, width=terminal_width() - 2
    )
    parser = _Parser(
        "ckpt", description=DESCRIPTION, epilog=EXIT_STATUS, formatter_class=layout,
        allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        examples = "\n".join(["examples:", *(f"  ckpt {line}" for line in command.examples)])
        added = commands.add_parser(
            name, help=command.text, description=f"{command.text[0].upper()}{command.text[1:]}.",
            epilog=examples, formatter_class=layout, allow_abbrev=False,
        )  # fmt: skip
        for argument in command.arguments:
            more: dict[str, Any] = {"nargs": "+"} if argument == "files" else {}
            more |= {"choices": SHELLS} if argument == "shell" else {}
            added.add_argument(argument, help=_HELP[argument], metavar=argument.upper(), **more)
        for option in command.options:
            kind: dict[str, Any] = {"metavar": option.value}
            if option.value is None:
                kind = {"action": "store_true"}
            elif option.repeated:
                kind |= {"action": "append", "default": []}
            added.add_argument(option.name, help=option.text, **kind)
    return parser


def _did_you_mean(wrong: str, known: Any) -> str:
    from difflib import get_close_matches

    near = get_close_matches(wrong, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""
