"""`observatory completion`: what a shell needs to complete the commands and their options."""

from typing import Annotated, Literal

from cyclopts import Parameter

from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import TABLE, Output


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(name="SHELL")],
    /,
    *,
    output: Output = TABLE,
) -> int:
    """Print the script that has a shell complete commands, options and their values.

    It is made from the commands themselves; print it again after an upgrade.

    For example:
      source <(observatory completion bash)
      observatory completion zsh > ~/.zfunc/_observatory   # with ~/.zfunc in $fpath
      observatory completion fish > ~/.config/fish/completions/observatory.fish

    Args:
        shell: The shell.
    """
    from observatory.interfaces.cli.main import application

    script = application().generate_completion(shell=shell)
    if output.structured:
        output.print({"shell": shell, "script": script})
    else:
        print(script, end="")
    return ExitCode.OK
