"""``rankformer mcp``."""

from pathlib import Path
from typing import Annotated

import typer

from rankformer.cli.options import Threads, limit_threads


def mcp(
    folder: Annotated[
        list[Path],
        typer.Option(
            help="The folder in which files may be read and written; relative paths are relative "
            "to the first.",
        ),
    ],
    allow_download: Annotated[
        bool,
        typer.Option(
            "--allow-download",
            help="Also offer a tool that downloads published models from the Hugging Face hub. "
            "Without it, the network is never used.",
        ),
    ] = False,
    threads: Threads = None,
) -> None:
    """Serve inspect, embed, report, annotate, perturb and perturb-test to an agent.

    The server talks the Model Context Protocol by stdin and stdout; a client, such as a desktop
    assistant or an editor, starts it.
    """
    from rankformer.mcp.server import serve
    from rankformer.requirements import require_packages

    require_packages("mcp", extra="mcp")
    limit_threads(threads)
    serve(folder, may_download=allow_download, n_threads=threads)
