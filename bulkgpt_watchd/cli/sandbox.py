"""`bulkgpt-watchd sandbox`: run a local BulkGPT until it is stopped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from bulkgpt_watchd.cli.ending import Ended
from bulkgpt_watchd.cli.options import examples
from bulkgpt_watchd.core.exit_codes import CONFIG_WRONG, FAILED

if TYPE_CHECKING:
    from bulkgpt_watchd.sandbox.options import SandboxOptions
    from bulkgpt_watchd.sandbox.server import Sandbox


@click.command(
    epilog=examples(
        "bulkgpt-watchd sandbox                          with port 8080 and the key sandbox-key",
        "bulkgpt-watchd sandbox --scenario bad-day.yaml  with planned faults",
    )
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Of the API; 0: any free.")
@click.option("--download-port", default=0, show_default=True, type=click.IntRange(0, 65535), help="Of the results.")
@click.option("--key", default="sandbox-key", show_default=True, help="The API key that it takes.")
@click.option("--scenario", type=click.Path(), help="YAML file with settings and planned faults (see docs/sandbox.md).")
@click.option("--task-seconds", type=click.FloatRange(min=0), help="How long each task takes; otherwise 5.")
@click.option("--link-ttl", type=click.FloatRange(min=0), help="Seconds that a download link lives; otherwise 3600.")
@click.option("--max-upload-bytes", type=click.IntRange(min=0), help="Of CSV; above it submits are answered with 413.")
@click.option("--ledger", type=click.Path(), help="Append each submit to this file, as JSON lines.")
def sandbox(
    host: str,
    port: int,
    download_port: int,
    key: str,
    scenario: str | None,
    task_seconds: float | None,
    link_ttl: float | None,
    max_upload_bytes: int | None,
    ledger: str | None,
) -> None:
    """
    Run a local BulkGPT: both calls, downloads, and planned faults.

    No account, no network, no cost. It prints what to put into the configuration, then one line for each call.
    """
    import asyncio
    from dataclasses import replace

    from bulkgpt_watchd.sandbox.options import SandboxOptions
    from bulkgpt_watchd.sandbox.scenario import ScenarioError, read_scenario

    options = SandboxOptions()
    if scenario is not None:
        try:
            options = read_scenario(scenario, options)
        except ScenarioError as error:
            raise Ended(str(error), CONFIG_WRONG) from None
    if task_seconds is not None:
        options = options.with_task_seconds(task_seconds)
    if link_ttl is not None:
        options = replace(options, link_ttl_s=link_ttl)
    if max_upload_bytes is not None:
        options = replace(options, max_upload_bytes=max_upload_bytes)
    options = replace(options, host=host, port=port, download_port=download_port, key=key, ledger_file=ledger)
    try:
        asyncio.run(_serve(options))
    except OSError as error:
        if error.filename is not None:
            raise Ended(f"{error.filename}: {error.strerror}; give another --ledger", FAILED) from None
        message = f"cannot listen: {error.strerror}; give another --host, --port or --download-port"
        raise Ended(message, FAILED) from None


async def _serve(options: SandboxOptions) -> None:
    import asyncio
    import signal

    from bulkgpt_watchd.sandbox.server import Sandbox

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Sandbox(options, report=_report) as running:
        _introduce(running)
        await stop.wait()


def _report(line: str) -> None:
    click.echo(ascii(line)[1:-1], err=True)  # a planned task ID may hold anything


def _introduce(running: Sandbox) -> None:
    lines = [
        f"# BulkGPT sandbox at {running.base_url}, results at {running.download_origin}",
        f"# API key: {running.api_key}",
        "api:",
        f"  base_url: {running.base_url}",
        f"  api_key: {json.dumps(running.api_key)}",
    ]
    if not running.is_loopback:
        click.echo("warning: others can reach this sandbox; it is a toy and guards nothing", err=True)
        lines.append("  download: {allow_private: true, allow_http: true}")
    click.echo("\n".join(lines))
