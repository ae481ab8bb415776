"""The command line: one short function per command that parses, calls and prints."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from sottovoce import __version__
from sottovoce.errors import SottovoceError, VerificationError
from sottovoce.serve.commands import add_commands

app = typer.Typer(
    name="sotto",
    help="Train one language model on the private text of many parties.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, the last line.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the configuration."),
]
RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
OwnFile = Annotated[Path, typer.Argument(metavar="FILE", help="Its own file.")]

_INTERRUPTED = 130
"""What a shell reports of a program that was interrupted."""


def main() -> None:
    """Run a command; an error that has a name becomes one sentence and its exit code."""
    # No library may tell anyone that it is used; a hub is asked only for what the user named.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        app()
    except SottovoceError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except SystemExit as ended:
        # Typer turns Ctrl-C into this code without a word.
        if ended.code == _INTERRUPTED:
            typer.echo("interrupted; a run keeps its finished rounds for --resume", err=True)
        raise
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sotto {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train one language model on the private text of many parties."""


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--dir", help="Where the run folder is made.")] = Path(
        "runs/demo"
    ),
    network: Annotated[
        bool, typer.Option(help="One server and four sites, as real processes on this machine.")
    ] = False,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Tell the whole story on a generated marketplace and the bundled model, offline."""
    from sottovoce.console import print_table, to_json, watching

    if network:
        from sottovoce.run.network_demo import tell_network

        networked = tell_network(folder.with_name(f"{folder.name}-network"), overrides or [])
        typer.echo(to_json(networked) if json else "\n".join(networked["story"]))
        return
    from sottovoce.run import demo as story

    config, private = story.configure(folder, overrides or [])
    with watching(config.federation.rounds, arms=4, quiet=json) as watch:
        told = story.tell(config, private, watch)
    if json:
        typer.echo(to_json(told.facts))
        return
    print_table("8 shops, one model: held-out loss in nats per token", told.losses)
    typer.echo("")
    typer.echo("\n".join([*(answer.in_words() for answer in told.answers), *told.closing]))


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")], json: Json = False
) -> None:
    """Write a commented configuration and a few conversations to start from."""
    from sottovoce.console import to_json
    from sottovoce.run.init import write_start

    written = [str(path) for path in write_start(folder)]
    if json:
        typer.echo(to_json({"files": written}))
        return
    for path in written:
        typer.echo(f"wrote {path}")
    typer.echo(f"next: sotto run {folder / 'federation.toml'}")


@app.command()
def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A configuration in TOML.")],
    overrides: Set = None,
    resume: Annotated[bool, typer.Option(help="Go on with an interrupted run.")] = False,
    compare: Annotated[
        bool, typer.Option(help="Train every client alone and one model on the union as well.")
    ] = False,
    wire: Annotated[
        Path | None, typer.Option(help="Write what each client sends to the server there.")
    ] = None,
    json: Json = False,
) -> None:
    """Run a federation in this process."""
    from sottovoce.config import load_config
    from sottovoce.console import epsilon_rows, personal_rows, print_table, to_json, watching
    from sottovoce.run import compare as comparing
    from sottovoce.run.prepare import prepare
    from sottovoce.run.protect import claim
    from sottovoce.run.secure import claim as claim_of_sums
    from sottovoce.run.sums import told as told_of_sums
    from sottovoce.run.telling import in_words, run_facts, warnings

    prepared = prepare(load_config(config, overrides or []))
    print_table("data", prepared.table, to_stderr=True)
    for line in [*claim(prepared.plans), *claim_of_sums(**told_of_sums(prepared))]:
        typer.echo(line, err=True)
    settings = prepared.config
    arms = 3 * (1 + len(settings.compare.learning_rates)) if compare else 1
    with watching(settings.federation.rounds, arms, quiet=json) as watch:
        start = comparing.compare if compare else comparing.federation_only
        done = start(prepared, watch=watch, resume=resume, wire=wire)
    facts = run_facts(prepared, done)
    for line in warnings(settings, done.outcome):
        typer.echo(line, err=True)
    if json:
        typer.echo(to_json(facts))
        return
    if facts["privacy"].get("clients"):
        print_table("each client's own ε", epsilon_rows(facts["privacy"]["clients"]))
    if facts["personal"] is not None:
        print_table("each client's own model: held-out loss", personal_rows(facts["personal"]))
    typer.echo(in_words(facts))


@app.command(name="eval")
def evaluate(run_dir: RunDir, overrides: Set = None, json: Json = False) -> None:
    """Score a run's answers on held-out conversations, per client, with intervals."""
    from sottovoce.console import eval_rows, print_table, to_json
    from sottovoce.run.finished import open_run, score_run
    from sottovoce.run.telling import eval_facts

    finished = open_run(run_dir, overrides or [])
    losses, answers = score_run(finished)
    if json:
        typer.echo(to_json(eval_facts(losses, answers)))
        return
    print_table(f"{run_dir}: held-out conversations, 95 % intervals", eval_rows(losses, answers))


@app.command()
def chat(
    run_dir: RunDir,
    once: Annotated[str | None, typer.Option(metavar="TEXT", help="Answer once and end.")] = None,
    system: Annotated[str | None, typer.Option(help="The system message.")] = None,
    client: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="This client's system message, and its model if any."),
    ] = None,
    base: Annotated[bool, typer.Option(help="Ask the base model instead.")] = False,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest.")] = 0.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest answer.")] = 160,
    seed: Annotated[int, typer.Option(help="For drawing tokens.")] = 0,
    json: Json = False,
) -> None:
    """Talk to the model of a run."""
    from sottovoce.console import to_json
    from sottovoce.model.generate import Sampling
    from sottovoce.run.finished import converse, open_run, system_message

    finished = open_run(run_dir)
    if base:
        finished = finished.without_adapter()
    elif client is not None and finished.has_personal_models:
        finished = finished.of_client(client)
    message = system if system is not None else system_message(finished, client)
    sampling = Sampling(max_new_tokens, temperature, seed=seed)
    talk = converse(finished, message, sampling)
    if once is not None:
        answer = talk(once)
        typer.echo(to_json({"answer": answer, "system": message}) if json else answer)
        return
    typer.echo("Type a question; an empty line ends the conversation.", err=True)
    while text := _ask():
        typer.echo(talk(text))


@app.command()
def export(
    run_dir: RunDir,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files go.")],
    to: Annotated[str, typer.Option(help="peft: an adapter; merged: a whole model.")] = "peft",
    client: Annotated[
        str | None, typer.Option(metavar="NAME", help="This client's personal model.")
    ] = None,
    json: Json = False,
) -> None:
    """Write the model of a run for peft, vLLM and others."""
    from sottovoce.console import to_json
    from sottovoce.run.finished import export_run, open_run

    finished = open_run(run_dir)
    if client is not None:
        finished = finished.of_client(client)
    written = export_run(finished, to, folder)
    typer.echo(
        to_json({"dir": str(folder), "format": to, "files": written})
        if json
        else f"wrote {', '.join(written)} to {folder}"
    )


@app.command()
def scrub(
    source: Annotated[
        Path | None, typer.Argument(metavar="IN", help="A file, or a folder of files.")
    ] = None,
    target: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="A new file, or a new folder.")
    ] = None,
    replace: Annotated[str | None, typer.Option(help="mask, pseudonym or drop.")] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="This site's key; made where missing.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Whose section data is used.")] = None,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="For a report.")] = None,
    explain: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Say what is found in it, and why.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace what stands at OUT.")] = False,
    json: Json = False,
) -> None:
    """Remove personal data from files of conversations or plain text."""
    from sottovoce.console import to_json
    from sottovoce.run.scrubbing import Asked, explain_or_scrub

    asked = Asked(source, target, replace, key, config, report, overwrite, explain)
    facts, words = explain_or_scrub(asked)
    typer.echo(to_json(facts) if json else "\n".join(words))


@app.command()
def epsilon(
    unit: Annotated[str, typer.Option(help="What is hidden: example, owner or client.")],
    delta: Annotated[float, typer.Option(help="Below one over the number of units.")],
    noise_multiplier: Annotated[
        float | None, typer.Option(metavar="S", help="From noise to ε.")
    ] = None,
    target_epsilon: Annotated[
        float | None, typer.Option(metavar="X", help="From ε to noise.")
    ] = None,
    examples: Annotated[int | None, typer.Option(metavar="N", help="Unit example: all.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="B", help="Unit example: in a step, in the mean.")
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(metavar="E", help="Unit example: steps = ceil(E·N/B).")
    ] = None,
    owners: Annotated[int | None, typer.Option(metavar="N", help="Unit owner: all.")] = None,
    owners_per_step: Annotated[
        int | None, typer.Option(metavar="B", help="Unit owner: in a step, in the mean.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="T", help="Steps; overrides --epochs.")
    ] = None,
    clients: Annotated[int | None, typer.Option(metavar="N", help="Unit client: all.")] = None,
    clients_per_round: Annotated[
        int | None, typer.Option(metavar="K", help="Unit client: in a round, in the mean.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(metavar="R", help="Unit client.")] = None,
    max_participations: Annotated[
        int | None, typer.Option(metavar="M", help="Unit client: a cap that clients enforce.")
    ] = None,
    examples_per_person: Annotated[
        int | None, typer.Option(metavar="K", help="Unit example: the most of one person.")
    ] = None,
    max_sites_per_owner: Annotated[
        int | None, typer.Option(metavar="M", help="Sites of one person at most.")
    ] = None,
    trust: Annotated[
        str, typer.Option(help="none: clients add the noise in shares under a secure sum.")
    ] = "server",
    json: Json = False,
) -> None:
    """Account for a plan, or find the noise for a target, without a run."""
    # Every option but --json is part of the question, under the same name.
    asked = {name: value for name, value in locals().items() if name != "json"}
    from sottovoce.console import to_json
    from sottovoce.privacy.question import Question, answer

    facts = answer(Question(**asked))
    if json:
        typer.echo(to_json(facts))
        return
    for line in facts["statement"]:
        typer.echo(line)


@app.command()
def verify(run_dir: RunDir, json: Json = False) -> None:
    """Check every line of a run's ledger, and every file that it vouches for."""
    from sottovoce.console import to_json
    from sottovoce.run.check import check_run

    try:
        checked = check_run(run_dir)
    except VerificationError as error:
        if json:
            typer.echo(to_json({"ok": False, "error": str(error)}))
        raise
    if json:
        facts = {"ok": True, "records": checked.records, "ledger_head": checked.head}
        typer.echo(to_json(facts | {"rounds": checked.rounds, "complete": checked.complete}))
        return
    state = "complete" if checked.complete else "not finished; go on with sotto run --resume"
    typer.echo(f"{checked.records} records, {checked.rounds} rounds, {state}")
    typer.echo(f"ledger head {checked.head}")


def _ask() -> str:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


@app.command()
def enrol(
    name: Annotated[str, typer.Option(help="This site's name.")],
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Where keys and files go; by default ./NAME.")
    ] = None,
    helper: Annotated[bool, typer.Option("--helper", help="Opens sums, has no text.")] = False,
    json: Json = False,
) -> None:
    """Make a site's or a helper's keys, and print the line that goes into everybody's roster."""
    from sottovoce.console import to_json
    from sottovoce.run.founding import enrol_helper, enrol_site

    made = (enrol_helper if helper else enrol_site)(name, folder or Path(name))
    typer.echo(to_json(made) if json else f"{made['name']} = {made['line']}")
    files = " and ".join(made[key] for key in sorted(made) if key not in ("name", "line"))
    typer.echo(f"wrote keys, {files}", err=True)
    typer.echo("next: send the line above to whoever runs the server", err=True)


@app.command()
def certs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    host: Annotated[str, typer.Option(help="The server's name or address.")] = "localhost",
    json: Json = False,
) -> None:
    """Make a server's identity, and a private CA with its certificate, for a laboratory."""
    from sottovoce.console import to_json
    from sottovoce.run.founding import found_server

    made = found_server(folder, host)
    typer.echo(to_json(made) if json else f'identity = "{made["identity"]}"')
    hint = "next: give the line above and ca.pem to every site"
    typer.echo(f"wrote {', '.join(made['files'])} to {folder}\n{hint}", err=True)


@app.command()
def server(
    config: Annotated[Path, typer.Argument(metavar="FILE", help="With a section [network].")],
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Run a federation across machines as its server; started again, it goes on."""
    from sottovoce.config import load_config
    from sottovoce.console import to_json
    from sottovoce.run.flower.child import log_as_lines
    from sottovoce.run.network_telling import server_facts, server_words
    from sottovoce.run.station import run_server

    log_as_lines("info")
    done, seen = run_server(load_config(config, overrides or []))
    facts = server_facts(done, seen)
    typer.echo(to_json(facts) if json else server_words(facts))


@app.command()
def helper(file: OwnFile) -> None:
    """Help to open the sums of a federation: keep a helper open until it is told to end."""
    from sottovoce.run.flower.child import log_as_lines
    from sottovoce.run.helper_settings import load_helper
    from sottovoce.run.helper_station import run_helper

    log_as_lines("info")
    run_helper(load_helper(file))


@app.command()
def site(file: OwnFile) -> None:
    """Keep a site's vault open, and its door beside it, until it is told to end."""
    from sottovoce.run.flower.child import log_as_lines
    from sottovoce.run.site_settings import load_site
    from sottovoce.run.station import run_site

    log_as_lines("info")
    run_site(load_site(file))


@app.command()
def status(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, at the server.")],
    json: Json = False,
) -> None:
    """Say who is here, which round it is, what is waited for, and what was spent."""
    from sottovoce.console import print_table, to_json
    from sottovoce.run.seen import read_status, status_rows

    found = read_status(run_dir)
    typer.echo(to_json(found)) if json else print_table(str(run_dir), status_rows(found))


add_commands(app)
