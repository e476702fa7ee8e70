"""`bulkgpt-watchd config systemd`: what the unit must allow for this configuration."""

from __future__ import annotations

import click

from bulkgpt_watchd.cli.options import config_option, config_path, examples, load_settings


@click.command(
    short_help="Print a drop-in for the systemd unit.",
    epilog=examples(
        "bulkgpt-watchd config systemd > /etc/systemd/system/bulkgpt-watchd.service.d/routes.conf",
        "systemctl daemon-reload && systemctl restart bulkgpt-watchd",
    ),
)
@config_option
def systemd() -> None:
    """
    Print a drop-in for the systemd unit: folders, times and the key of this configuration.

    The unit lets the daemon write to its state and to /srv/bulkgpt only, and hides /home. Routes elsewhere need this.
    """
    settings = load_settings()
    from bulkgpt_watchd.config.dropin import dropin

    click.echo(dropin(settings, config_path().absolute()), nl=False)
