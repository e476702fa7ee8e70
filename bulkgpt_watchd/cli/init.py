"""`bulkgpt-watchd init DIR`: configuration, folders and key file for a first route."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path

import click

from bulkgpt_watchd.cli.lazy import NAME
from bulkgpt_watchd.cli.making import CONFIG_MODE, FOLDER_MODE, KEY_MODE, STATE_MODE, Thing, make, refuse_to_overwrite
from bulkgpt_watchd.cli.options import examples, json_option
from bulkgpt_watchd.cli.words import typed_path
from bulkgpt_watchd.core.names import printable

CONFIG, KEY, STATE = "config.yaml", "api-key", "state"

FOLDERS = {
    "inbox": "drop CSV files here",
    "outbox": "results come here",
    "error": "files that failed, each with the reason and what to do",
    "archive": "files that are done, each with a receipt",
}

HEAD = "# Written by `bulkgpt-watchd init`. `bulkgpt-watchd config example` prints every key with its default.\n"


class _Value(click.ParamType):  # type: ignore[type-arg]  # older versions of click have no argument there
    """Take what the configuration takes."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from pydantic import TypeAdapter, ValidationError

        from bulkgpt_watchd.config.addresses import BaseUrl
        from bulkgpt_watchd.config.names import RouteName, Text
        from bulkgpt_watchd.config.wording import plain_words

        if self.name == "route" and value in {CONFIG, KEY, STATE, "routes.d"}:
            self.fail("must be another name: this one is taken by what stands beside it", param, ctx)
        kind: TypeAdapter[str] = TypeAdapter({"route": RouteName, "url": BaseUrl}.get(self.name, Text))
        try:
            return kind.validate_python(value)
        except ValidationError as error:
            self.fail(plain_words(error.errors()[0]), param, ctx)


@click.command(
    epilog=examples(
        "bulkgpt-watchd init ~/bulkgpt                       asks for the rest",
        'bulkgpt-watchd init /srv/bulkgpt --workflow-id "v0#Workflow#…" --key-stdin < key',
        "bulkgpt-watchd init ~/try --workflow-id any --base-url http://127.0.0.1:8080",
    )
)
@click.argument("where", metavar="DIR", type=click.Path(file_okay=False))
@click.option("--workflow-id", metavar="ID", type=_Value("workflow"), help="Of the BulkGPT workflow.")
@click.option("--route", metavar="NAME", type=_Value("route"), help="Name of the route; otherwise leads.")
@click.option("--base-url", metavar="URL", type=_Value("url"), help="Of the API, where it is not BulkGPT's own.")
@click.option("--key-file", type=click.Path(path_type=Path), help="A file with the API key; it stays where it is.")
@click.option("--key-stdin", is_flag=True, help="Read the API key from standard input.")
@json_option
def init(
    where: str,
    workflow_id: str | None,
    route: str | None,
    base_url: str | None,
    key_file: Path | None,
    key_stdin: bool,
    as_json: bool,
) -> None:
    """
    Make a configuration, the folders of a first route and the file of the API key in DIR.

    Asks for what no option gives; without a terminal it asks nothing. The key is never shown, and may be put into its
    file later. Nothing is overwritten.
    """
    if key_file is not None and key_stdin:
        raise click.UsageError("--key-file and --key-stdin exclude each other")
    if not where:  # as an empty variable of a script gives it
        raise click.UsageError("DIR is empty; write . for this folder")
    folder = Path(os.path.abspath(where))
    refuse_to_overwrite([folder / name for name in (CONFIG, STATE, *([KEY] if key_file is None else []))])
    is_asking = sys.stdin.isatty()
    if workflow_id is None and not is_asking:
        raise click.UsageError("Missing option '--workflow-id': there is no terminal to ask for it.")
    key_file = None if key_file is None else _checked(key_file)
    if workflow_id is None:
        workflow_id = click.prompt("ID of the BulkGPT workflow", type=_Value("workflow"), err=True)
    if route is None:
        question = "Name of the route, and of its folder"
        route = click.prompt(question, "leads", type=_Value("route"), err=True) if is_asking else "leads"
    key = None
    if key_file is None and is_asking:
        key = _ask_key(is_needed=key_stdin)
    elif key_stdin:
        key = _read_key()
    make(
        [
            Thing(folder / CONFIG, CONFIG_MODE, _config(folder, workflow_id, route, base_url, key_file)),
            *([] if key is None else [Thing(folder / KEY, KEY_MODE, f"{key}\n")]),
            *(Thing(folder / route / name, FOLDER_MODE) for name in ("", *FOLDERS)),
            Thing(folder / STATE, STATE_MODE),
        ]
    )
    has_key = not (key is None and key_file is None)
    _tell(folder, route, key_file or folder / KEY, has_key=has_key, as_json=as_json)


def _ask_key(*, is_needed: bool) -> str | None:
    from bulkgpt_watchd.config.api_key import key_in

    question = "API key (not shown)" if is_needed else "API key (not shown; only Enter: later)"
    while True:
        text = click.prompt(question, None if is_needed else "", hide_input=True, show_default=False, err=True)
        try:
            return key_in(text) if text else None
        except ValueError as error:
            click.echo(f"Error: it {error}", err=True)


def _read_key() -> str:
    from bulkgpt_watchd.config.api_key import LARGEST_KEY_BYTES, key_in, text_of

    content = sys.stdin.buffer.read(LARGEST_KEY_BYTES + 1)
    try:
        if len(content) > LARGEST_KEY_BYTES:
            raise ValueError("is too long for an API key")
        return key_in(text_of(content))
    except ValueError as error:
        raise click.UsageError(f"what came from standard input {error}") from None


def _checked(key_file: Path) -> Path:
    """Refuse a key file that would not do; a key that stands in place of its name is not shown."""
    from bulkgpt_watchd.config.api_key import LARGEST_KEY_BYTES, key_in, looks_like_key, text_of
    from bulkgpt_watchd.config.reading import Unreadable, read_small

    path = Path(os.path.abspath(key_file))
    name = "what looks like the key itself" if looks_like_key(Path.cwd(), path) else printable(str(path))
    try:
        os.fsencode(path).decode()  # as the configuration must be
        key_in(text_of(read_small(path, LARGEST_KEY_BYTES).content))
    except UnicodeDecodeError:
        raise click.BadParameter(f"{name} has a name that is not UTF-8", param_hint="'--key-file'") from None
    except (Unreadable, ValueError) as error:
        raise click.BadParameter(f"{name} {error}", param_hint="'--key-file'") from None
    return path


def _config(folder: Path, workflow_id: str, route: str, base_url: str | None, key_file: Path | None) -> str:
    from bulkgpt_watchd.config.effective import as_yaml

    key_name = str(key_file or KEY).removeprefix(f"{folder}/")
    values = {
        "api": {"base_url": base_url, "api_key_file": key_name} if base_url else {"api_key_file": key_name},
        "state": {"path": f"{STATE}/state.db"},
        "routes": [{"name": route, "workflow_id": workflow_id, "folder": route}],
    }
    return HEAD + "".join(f"{line}\n" for line in as_yaml(values))


def _tell(folder: Path, route: str, key_file: Path, *, has_key: bool, as_json: bool) -> None:
    config = folder / CONFIG
    typed = f"{_program()} -c {typed_path(config)}"
    commands = [f"{typed} config check", f"{typed} run", f"{typed} status"]
    put_key = f"(umask 077; cat > {typed_path(key_file)})"
    if as_json:
        places = {"config": config, "api_key_file": key_file, **{name: folder / route / name for name in FOLDERS}}
        facts = {name: printable(str(path)) for name, path in places.items()}
        click.echo(json.dumps({**facts, "has_key": has_key, "next": commands if has_key else [put_key, *commands]}))
        return
    made = {CONFIG: "the configuration"}
    made |= {KEY: "the API key; nobody else can read it"} if os.path.lexists(folder / KEY) else {}
    made |= {f"{route}/{name}": what for name, what in FOLDERS.items()}
    made |= {STATE: "what the daemon remembers"}
    width = max(map(len, made))
    lines = [f"{printable(str(folder))} has now:", *(f"  {name:{width}}  {what}" for name, what in made.items()), ""]
    if not has_key:
        lines += [
            "The API key is missing. Paste it after this command, then press Enter and Ctrl-D:",
            f"  {put_key}",
            "",
        ]
    lines += ["Next: check it, run it (Ctrl-C ends it), and look at it from a second terminal:"]
    lines += [f"  {command}" for command in commands]
    click.echo("\n".join(lines))


def _program() -> str:
    """Say what to type to start this program again, from anywhere."""
    called = sys.argv[0]
    if os.path.basename(called) == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m bulkgpt_watchd"
    found = shutil.which(NAME)
    if found is not None and os.path.realpath(found) == os.path.realpath(called):
        return NAME
    return shlex.quote(os.path.abspath(called))
