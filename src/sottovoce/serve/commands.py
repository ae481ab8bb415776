"""The commands of serving; each imports what it needs when it is called."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer

from sottovoce.errors import UsageError

Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN [RUN ...]",
        help="Run folders of one base model; with --dashboard also folders in which runs lie.",
    ),
]
Keys = Annotated[
    Path | None,
    typer.Option("--keys", metavar="FILE", help="The keys; by default keys.json beside the run."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, the last line.")]


def add_commands(app: typer.Typer) -> None:
    """Give the command line the commands of serving."""
    app.command()(serve)
    app.command()(key)


def serve(
    runs: Runs,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    keys: Keys = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Show how runs go, and load no model.")
    ] = False,
    json: Json = False,
) -> None:
    """Chat with the models of runs in a browser or by OpenAI's clients, and watch runs go."""
    from sottovoce.run.flower.child import log_as_lines
    from sottovoce.serve.server import Serving, serve

    log_as_lines("info")

    def ready(address: str) -> None:
        programs = "" if dashboard else f", {address}/v1 for programs"
        told = f"{address} in a browser{programs}; Ctrl-C ends it"
        _tell({"address": address, "base_url": f"{address}/v1"}, told, json)

    serve(Serving(tuple(runs), host, port, keys, models=not dashboard), ready)


def key(
    add: Annotated[str | None, typer.Option(metavar="NAME", help="Make a key.")] = None,
    remove: Annotated[str | None, typer.Option(metavar="NAME", help="Take one back.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show whose there are.")] = False,
    models: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="What it may ask; again for more. Else all shared ones."),
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(metavar="N")] = None,
    tokens_per_day: Annotated[int | None, typer.Option(metavar="N")] = None,
    expires: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Its last day, in UTC.")
    ] = None,
    unfiltered: Annotated[
        bool, typer.Option("--unfiltered", help="Personal data stay in what it is told.")
    ] = False,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="It may see how runs go, with their clients' names.")
    ] = False,
    keys: Annotated[
        Path, typer.Option("--keys", metavar="FILE", help="Where they are kept.")
    ] = Path("runs/keys.json"),
    json: Json = False,
) -> None:
    """Make, show and take back the keys of a server."""
    from sottovoce.serve.keys import KeyFile

    if sum((add is not None, remove is not None, list_)) != 1:
        raise UsageError("sotto key does one thing at a time", allowed="--add, --list or --remove")
    file = KeyFile(keys)
    if add is not None:
        made = file.add(
            add,
            models=models,
            requests_per_minute=requests_per_minute,
            tokens_per_day=tokens_per_day,
            expires=None if expires is None else expires.date(),
            filtered=not unfiltered,
            dashboard=dashboard,
        )
        _tell({"name": add, "key": made, "file": str(keys)}, made, json)
        typer.echo("this is the one time that it is shown", err=True)
    elif remove is not None:
        file.remove(remove)
        _tell({"removed": remove, "file": str(keys)}, f"{remove} is let in no more", json)
    else:
        _show(file.every(), keys, json)


def _show(every: Sequence[Any], file: Path, json: bool) -> None:
    hidden = {"salt", "sha256"}
    rows = [one.model_dump(mode="json", exclude=hidden) for one in every]
    lines = [f"{file} holds {len(rows)} keys"]
    for row in rows:
        models = "all shared models" if row["models"] is None else ", ".join(row["models"])
        limits = [
            f"{row[name]} {words}"
            for name, words in (
                ("requests_per_minute", "requests a minute"),
                ("tokens_per_day", "tokens a day"),
            )
            if row[name] is not None
        ]
        until = [] if row["expires"] is None else [f"until {row['expires']}"]
        rights = [word for word, has in (("unfiltered", not row["filtered"]),) if has]
        rights += ["sees the dashboard"] if row["dashboard"] else []
        lines.append(f"{row['name']}: {'; '.join([models, *limits, *until, *rights])}")
    _tell({"keys": rows, "file": str(file)}, "\n".join(lines), json)


def _tell(facts: dict[str, Any], words: str, json: bool) -> None:
    typer.echo(dumps(facts, ensure_ascii=False, allow_nan=False) if json else words)
