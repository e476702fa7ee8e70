"""What a person decides about single jobs: retry, resolve, redeliver. The daemon carries it out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from bulkgpt_watchd.adapters.sqlite_reader import StateReader
from bulkgpt_watchd.cli.control import act
from bulkgpt_watchd.cli.options import config_option, examples, json_option, load_place
from bulkgpt_watchd.cli.state import find_job
from bulkgpt_watchd.core.errors import WatchdError
from bulkgpt_watchd.core.exit_codes import FAILED

if TYPE_CHECKING:
    from bulkgpt_watchd.config import Place


def _ids(place: Place, names: tuple[str, ...]) -> list[str]:
    """Complete beginnings of IDs, each job once; where we cannot read the state, the daemon has to know the names."""
    try:
        with StateReader.open(place.state.path) as state:
            return list(dict.fromkeys(find_job(state, name).id for name in names))
    except WatchdError:
        return list(dict.fromkeys(names))


def _told(row: dict[str, Any]) -> str:
    return f"job {row['job']} ({row['route']}/{row['file']})"


@click.command(
    epilog=examples(
        "bulkgpt-watchd retry h3k9p2mv",
        "bulkgpt-watchd retry --failed --route leads",
        "bulkgpt-watchd retry h3k9p2mv --pay-again     the file is submitted anew, and billed again",
    )
)
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@config_option
@click.option("--failed", is_flag=True, help="All failed jobs that can go on.")
@click.option("--route", metavar="R", help="With --failed: only of this route.")
@click.option("--pay-again", is_flag=True, help="Also where a task was accepted: submit the file anew, billed again.")
@json_option
def retry(jobs: tuple[str, ...], failed: bool, route: str | None, pay_again: bool, as_json: bool) -> int:
    """
    Go on with failed jobs, from the last step that is free.

    Never pays twice without --pay-again, and never touches a doubt: for that there is `resolve`. Ends with 1 if
    --failed had to leave some.
    """
    if bool(jobs) == failed:
        raise click.UsageError("name jobs, or give --failed")
    if route is not None and not failed:
        raise click.UsageError("--route goes with --failed")
    place = load_place()
    answer = act(place, "retry", jobs=_ids(place, jobs), failed=failed, route=route, pay_again=pay_again)
    if as_json:
        click.echo(json.dumps(answer))
    else:
        for row in answer["jobs"]:
            click.echo(f"{_told(row)} goes on")
        for left in answer["left"]:
            click.echo(f"left: {left['reason']}", err=True)
        if not (answer["jobs"] or answer["left"]):
            click.echo("no failed jobs", err=True)
    return FAILED if answer["left"] else 0


@click.command(
    epilog=examples(
        "bulkgpt-watchd resolve h3k9p2mv --task-id MTcyNjAz…     the dashboard has a task for this file",
        "bulkgpt-watchd resolve h3k9p2mv --not-submitted         it has none: submit the file",
        "bulkgpt-watchd resolve h3k9p2mv --abandon               leave it in the error folder",
    )
)
@click.argument("job")
@config_option
@click.option("--task-id", metavar="ID", help="It was accepted: go on with this task. BulkGPT is asked about it first.")
@click.option("--not-submitted", is_flag=True, help="It was not accepted: submit it.")
@click.option("--abandon", is_flag=True, help="Close it; its file stays in the error folder.")
@json_option
def resolve(job: str, task_id: str | None, not_submitted: bool, abandon: bool, as_json: bool) -> None:
    """
    Say what became of a submit whose answer was lost.

    Look at the BulkGPT dashboard whether there is a task for this file; nobody else can know.
    """
    if [task_id is not None, not_submitted, abandon].count(True) != 1:
        raise click.UsageError("give one of --task-id ID, --not-submitted and --abandon")
    place = load_place()
    [job_id] = _ids(place, (job,))
    answer = act(place, "resolve", job_id=job_id, task_id=task_id, not_submitted=not_submitted, abandon=abandon)
    if as_json:
        click.echo(json.dumps(answer))
    elif abandon:
        click.echo(f"{_told(answer['job'])} is closed; its file stays at {answer['job']['error']}")
    else:
        click.echo(f"{_told(answer['job'])} goes on" + (f" with task {task_id}" if task_id else ": it is sent anew"))


@click.command(epilog=examples("bulkgpt-watchd redeliver h3k9p2mv"))
@click.argument("job")
@config_option
@json_option
def redeliver(job: str, as_json: bool) -> None:
    """
    Fetch and deliver the result of a job again; that is free.

    Where the result's name is taken, the new one gets the job's ID in its name.
    """
    place = load_place()
    [job_id] = _ids(place, (job,))
    answer = act(place, "redeliver", job_id=job_id)
    if as_json:
        click.echo(json.dumps(answer))
    else:
        click.echo(f"{_told(answer['job'])}: its result is being fetched; see `bulkgpt-watchd jobs show {job_id}`")
