"""`bulkgpt-watchd run`: the daemon, in the foreground."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource

import click

from bulkgpt_watchd.cli.ending import ended_by
from bulkgpt_watchd.cli.options import config_option, config_path, duration, examples, json_option, load_settings
from bulkgpt_watchd.core.exit_codes import FAILED


@click.command(
    epilog=examples(
        "bulkgpt-watchd run -c config.yaml",
        "bulkgpt-watchd run --once --timeout 2h     for cron: 0 all done, 10 some failed, 11 not all could be done",
        "bulkgpt-watchd run --dry-run               what it would do now, and how many rows that would cost",
    )
)
@config_option
@click.option("--once", is_flag=True, help="Take what is there, wait until all of it has ended, and exit.")
@click.option("--timeout", type=duration, help="With --once: the longest time to wait, such as 2h.")
@click.option(
    "--dry-run", is_flag=True, help="Look once, touch nothing, and tell of each file what would become of it."
)
@json_option
def run(once: bool, timeout: float | None, dry_run: bool, as_json: bool) -> int:
    """
    Run the daemon in the foreground.

    TERM and INT stop it gracefully, HUP reads the configuration again. Its log goes to stderr; from its first line on,
    nothing else does.
    """
    if timeout is not None and not once:
        raise click.UsageError("--timeout goes with --once")
    if (dry_run and once) or (as_json and not dry_run):
        raise click.UsageError("--dry-run goes alone or with --json" if dry_run else "--json goes with --dry-run")
    settings = load_settings()
    if dry_run:
        from bulkgpt_watchd.cli.dry_run import dry_run as look

        return look(settings, as_json=as_json)
    from bulkgpt_watchd.cli.mistakes import Misconfigured
    from bulkgpt_watchd.config import ConfigInvalid
    from bulkgpt_watchd.core.errors import WatchdError
    from bulkgpt_watchd.service import Service

    # The key would be in a core dump. The unit forbids both, the dump and this call.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    service = Service(settings, config_path().absolute(), os.environ)
    try:
        return asyncio.run(service.run(once=once, timeout_s=timeout))
    except ConfigInvalid as invalid:
        raise Misconfigured(invalid.mistakes) from None
    except WatchdError as error:
        ended = ended_by(error)
        service.log("daemon.failed", "error", reason=ended.message, exit_code=ended.exit_code)
        return ended.exit_code
    except Exception:  # noqa: BLE001 a bug; the log is where an operator finds its traceback
        service.log("daemon.bug", "error", exc_info=True)
        return FAILED
