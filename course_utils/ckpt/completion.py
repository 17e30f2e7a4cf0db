"""Scripts that complete ``ckpt`` in a shell, made from the table of commands."""

from collections.abc import Callable

from course_utils.ckpt.commands import COMMANDS, SHELLS, Command


def script(shell: str) -> str:
    """Return the script for a shell, to be read by it at its start.

    Args:
        shell: one of `commands.SHELLS`.
    """
    return _WRITERS[shell]()


def _words(command: Command) -> str:
    own = SHELLS if "shell" in command.arguments else ()
    return " ".join([*own, *(option.name for option in command.options), "--help"])


def _bash() -> str:
    cases = "\n".join(
        f'        {name}) words="{_words(command)}" ;;' for name, command in COMMANDS.items()
    )
    return f"""\
_ckpt() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" words="" file
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{" ".join(COMMANDS)} --help --version" -- "$word"))
        return
    fi
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
    case "${{COMP_WORDS[1]}}:$word" in
        *:-* | completion:*) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
        *) while IFS= read -r file; do COMPREPLY+=("$file"); done < <(compgen -f -- "$word") ;;
    esac
}}
complete -o filenames -F _ckpt ckpt
"""


def _zsh() -> str:
    commands = "\n".join(f"        '{name}:{command.text}'" for name, command in COMMANDS.items())
    cases = "\n".join(
        f"            {name}) _arguments {_zsh_arguments(command)} ;;"
        for name, command in COMMANDS.items()
    )
    return f"""\
#compdef ckpt
_ckpt() {{
    local -a commands
    commands=(
{commands}
    )
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    local command=$words[2]
    shift words
    (( CURRENT-- ))
    case $command in
{cases}
    esac
}}
if [ "$funcstack[1]" = "_ckpt" ]; then
    _ckpt "$@"
else
    compdef _ckpt ckpt
fi
"""


def _zsh_arguments(command: Command) -> str:
    options = [
        f"'{option.name}[{option.text}]{':value:' if option.value else ''}'"
        for option in command.options
    ]
    files = f"'*:shell:({' '.join(SHELLS)})'" if "shell" in command.arguments else "'*:file:_files'"
    return " ".join([*options, "'--help[show help]'", files])


def _fish() -> str:
    lines = ["complete -c ckpt -n __fish_use_subcommand -l version -d 'print the version'"]
    for name, command in COMMANDS.items():
        lines.append(f"complete -c ckpt -f -n __fish_use_subcommand -a {name} -d '{command.text}'")
        seen = f"complete -c ckpt -n '__fish_seen_subcommand_from {name}'"
        if "shell" in command.arguments:
            lines.append(f"{seen} -f -a '{' '.join(SHELLS)}'")
        for option in command.options:
            value = " -x" if option.value else ""
            lines.append(f"{seen} -l {option.name.removeprefix('--')}{value} -d '{option.text}'")
    return "\n".join(lines) + "\n"


_WRITERS: dict[str, Callable[[], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
