"""
Say which keys the configuration has: names, types, defaults and what each is for.

The single source of the example, the reference and the checks of single values; rules that need two keys are in
`checks`, rules that need the disk in `places`. Python names are the YAML keys. The keys of a route are in `route`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, SecretStr

from bulkgpt_watchd.config.addresses import BaseUrl, HostPattern, Proxy
from bulkgpt_watchd.config.quantities import Count, Duration, PositiveDuration, PositiveSize
from bulkgpt_watchd.config.route import BudgetSettings, RouteEntry, RouteOptions
from bulkgpt_watchd.config.section import AbsolutePath, Section
from bulkgpt_watchd.config.web import WebSettings


class RetrySettings(Section):
    """Bound the waiting between two tries at the API."""

    min: PositiveDuration = Field(default=5.0, description="Wait before the second try; each further wait doubles.")
    max: PositiveDuration = Field(default=600.0, description="Longest wait between two tries.")


class DownloadSettings(Section):
    """Bound where results may come from."""

    hosts: Annotated[tuple[HostPattern, ...], Field(strict=False, min_length=1)] | None = Field(
        default=None,
        description="Hosts that a result link may point to, each a name or `*.example.com` for all below it;"
        " null: any host.",
    )
    allow_private: bool = Field(
        default=False,
        description="Fetch results from private, link-local and loopback addresses too; true by default"
        " when `base_url` is a loopback address.",
    )
    allow_http: bool = Field(
        default=False,
        description="Fetch results over unencrypted http too; true by default when `base_url` is a loopback address.",
    )
    max_bytes: PositiveSize = Field(default=2 * 10**9, description="Largest result that is fetched.")


class ApiSettings(Section):
    """Say where BulkGPT is and how hard it may be asked."""

    base_url: BaseUrl = Field(
        default="https://api.bulkgpt.ai",
        description="Address of the BulkGPT API; http is allowed for a loopback address only.",
    )
    api_key_file: AbsolutePath | None = Field(
        default=None, description="File that holds the API key and nothing else (mode 0600)."
    )
    api_key: SecretStr | None = Field(
        default=None,
        description="The API key itself; only in a configuration file that its owner alone can read (mode 0600).",
    )
    timeout: PositiveDuration = Field(default=120.0, description="Give up a request that made no progress for so long.")
    answer_timeout: PositiveDuration = Field(
        default=600.0, description="How long the answer to a submit is awaited; without one nobody knows its outcome."
    )
    submit_spacing: Duration = Field(
        default=1.0,
        description="Pause between the answer to one submit and the point of no return of the next, so that"
        " their task IDs differ; 0: off.",
    )
    max_concurrent_submits: Count = Field(default=4, ge=1, description="Uploads under way at once, over all routes.")
    max_outstanding: Count = Field(
        default=500, ge=1, description="Tasks running at BulkGPT at once; bounds the polling too."
    )
    retry: RetrySettings = Field(
        default_factory=RetrySettings, description="Waiting between two tries when BulkGPT cannot be reached."
    )
    max_upload_bytes: PositiveSize | None = Field(
        default=None, description="Largest CSV that is submitted; larger ones are refused; null: no limit of ours."
    )
    proxy: Proxy | None = Field(
        default=None,
        repr=False,
        description="HTTP proxy for all requests, as http://[user:password@]host:port; the environment's"
        " proxy variables are not used.",
    )
    ca_file: AbsolutePath | None = Field(
        default=None, description="PEM file of certificate authorities to trust instead of the system's."
    )
    download: DownloadSettings = Field(
        default_factory=DownloadSettings, description="Where results may be fetched from."
    )


class StateSettings(Section):
    """Say where the daemon remembers its jobs."""

    path: AbsolutePath = Field(
        default=Path("/var/lib/bulkgpt-watchd/state.db"),
        description="The state file; must lie on a local file system.",
    )


class ControlSettings(Section):
    """Say where the daemon takes commands."""

    socket: AbsolutePath | None = Field(
        default=None,
        description="Unix socket for commands; null: `control.sock` in $RUNTIME_DIRECTORY, else beside the state file.",
    )


class LogSettings(Section):
    """Say how the log is written."""

    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto: readable on a terminal, JSON lines otherwise; or `console`, or `json`."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is written: debug, info, warning or error."
    )


class ConfigFile(Section):
    """Hold a whole configuration file."""

    LATER: ClassVar[frozenset[str]] = frozenset({"notify"})

    api: ApiSettings = Field(default_factory=ApiSettings, description="BulkGPT, and how hard it may be asked.")
    state: StateSettings = Field(default_factory=StateSettings, description="What the daemon remembers.")
    control: ControlSettings = Field(default_factory=ControlSettings, description="How the daemon takes commands.")
    budget: BudgetSettings = Field(
        default_factory=BudgetSettings,
        description="What all routes together may send in one day; beyond it files wait, and nothing fails.",
    )
    defaults: RouteOptions = Field(
        default_factory=RouteOptions,
        description="Values for all routes: any key of a route but its name, its workflow_id and its folders.",
    )
    routes: Annotated[tuple[RouteEntry, ...], Field(strict=False)] = Field(
        default=(), description="The routes: each feeds one inbox to one workflow; at least one."
    )
    web: WebSettings = Field(default_factory=WebSettings, description="HTTP: health, metrics and the API.")
    log: LogSettings = Field(default_factory=LogSettings, description="The log, written to stderr.")
