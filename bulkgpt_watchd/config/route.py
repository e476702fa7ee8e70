"""
Say which keys a route has, and what a route is once the defaults are merged in and its folders are known.

Python names are the YAML keys.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import ConfigDict, Field

from bulkgpt_watchd.config.names import (
    Delimiter,
    MarkerTemplate,
    Pattern,
    ResultMarkerTemplate,
    ResultTemplate,
    RouteName,
    Text,
)
from bulkgpt_watchd.config.quantities import Count, Duration, Mode, PositiveDuration, Size
from bulkgpt_watchd.config.section import AbsolutePath, Section
from bulkgpt_watchd.core.keep import HISTORY_S

FOLDERS = ("inbox", "outbox", "error", "archive")
"""What `folder` stands for; each is a key of its own too."""


class ReadySettings(Section):
    """Say how a sender tells that a file is complete."""

    done_file: MarkerTemplate | None = Field(
        default=None,
        description="Take a file only once a marker of this name lies beside it, such as `{name}.done`;"
        " null: take it when it was quiet for `settle`.",
    )


class CsvSettings(Section):
    """Say what is checked before anything is paid."""

    LATER: ClassVar[frozenset[str]] = frozenset({"encoding", "fallback_encoding", "normalize"})

    check: Literal["basic", "off"] = Field(
        default="basic",
        description="basic: refuse a file that is not a CSV with a header and rows before it is paid; off: no check.",
    )
    delimiter: Delimiter = Field(default="auto", description="What stands between two values; auto: found out.")
    required_columns: Annotated[tuple[Text, ...], Field(strict=False)] = Field(
        default=(), description="Columns that the header must have."
    )
    max_rows: Count = Field(
        default=100_000, ge=1, description="Most rows in one file, since each row is paid; larger files are refused."
    )


class PollSettings(Section):
    """Bound how often a running task is asked about."""

    min: PositiveDuration = Field(default=2.0, description="Shortest time between two questions about one task.")
    max: PositiveDuration = Field(default=60.0, description="Longest time between two questions about one task.")


class ResultSettings(Section):
    """Say how a result is handed over."""

    name: ResultTemplate = Field(
        default="{name}",
        description="Name of the result, with {name} {stem} {suffix} of the dropped file and {job}, the job's ID.",
    )
    done_file: ResultMarkerTemplate | None = Field(
        default=None,
        description="Empty marker written beside a delivered result, with {name} {stem} {suffix} of the result"
        " and {job}; null: none.",
    )
    mode: Mode | None = Field(
        default=None, description='Permissions of a result, quoted, such as "0640"; null: as the umask says.'
    )
    group: Text | None = Field(default=None, description="Group that a result belongs to; null: the daemon's.")


class BudgetSettings(Section):
    """Bound what is sent in one day."""

    rows_per_day: Count | None = Field(
        default=None, ge=1, description="Most rows that are sent in one day (UTC); null: any number."
    )
    files_per_day: Count | None = Field(
        default=None, ge=1, description="Most files that are sent in one day (UTC); null: any number."
    )


class KeepSettings(Section):
    """Say how long what has ended is kept."""

    archive: PositiveDuration | None = Field(
        default=None,
        description="Remove originals and receipts of delivered jobs from the archive after so long; null: never.",
    )
    history: PositiveDuration | None = Field(
        default=HISTORY_S,
        description="Forget ended jobs after so long; open questions, files in the error folder and the ledger stay;"
        " null: never. Not shorter than `duplicate_window`.",
    )


class RouteOptions(Section):
    """Hold the keys that `defaults` may set for all routes."""

    LATER: ClassVar[frozenset[str]] = frozenset({"split"})

    match: Annotated[tuple[Pattern, ...], Field(strict=False, min_length=1)] = Field(
        default=("*.csv",), description="Patterns of the file names that are taken; upper and lower case are the same."
    )
    recursive: bool = Field(
        default=False, description="Look into sub-folders of the inbox too; their path is kept in the other folders."
    )
    watch: Literal["auto", "events", "scan"] = Field(
        default="auto",
        description="auto: events where the file system has them, and scans; events: ask for events in any case;"
        " scan: scans only.",
    )
    scan_every: PositiveDuration = Field(default=10.0, description="Time between two scans of the inbox.")
    settle: Duration | None = Field(
        default=None,
        examples=["10s"],
        description="Take a file when it did not change for so long; 0: at once, for senders that rename into place;"
        " left out: 10s, and at least 60s on network file systems.",
    )
    ready: ReadySettings = Field(
        default_factory=ReadySettings, description="How a sender tells that a file is complete."
    )
    empty_grace: Duration = Field(
        default=300.0, description="How long an empty file is left in the inbox before it is refused."
    )
    hold_backlog: Count | None = Field(
        default=1000,
        ge=0,
        description="More matching files than this at the first start of a route: it starts paused; null: off.",
    )
    csv: CsvSettings = Field(default_factory=CsvSettings, description="What is checked before anything is paid.")
    duplicates: Literal["error", "submit"] = Field(
        default="error", description="The same bytes again: error refuses them, submit pays again."
    )
    duplicate_window: Duration = Field(
        default=43200.0, description="How long a finished job counts for duplicates; those under way always do."
    )
    budget: BudgetSettings = Field(
        default_factory=BudgetSettings,
        description="What the route may send in one day; beyond it files wait, and nothing fails.",
    )
    poll: PollSettings = Field(default_factory=PollSettings, description="How often a running task is asked about.")
    task_timeout: PositiveDuration = Field(
        default=604800.0, description="Give up a task that is not complete after so long."
    )
    on_partial: Literal["deliver", "error"] = Field(
        default="deliver",
        description="Some rows failed: deliver hands over what there is, error moves the file to the error folder.",
    )
    result: ResultSettings = Field(default_factory=ResultSettings, description="How a result is handed over.")
    on_success: Literal["archive", "delete"] = Field(
        default="archive",
        description="The original of a delivered job: archive keeps it, delete does not; the receipt is written"
        " to the archive folder all the same.",
    )
    keep: KeepSettings = Field(default_factory=KeepSettings, description="How long what has ended is kept.")
    min_free: Size = Field(
        default=100 * 10**6,
        description="Free space in outbox, work and the state's folder below which nothing is claimed or submitted.",
    )


class RouteEntry(RouteOptions):
    """Hold one entry of `routes`, as written."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["folder"]}, {"required": [*FOLDERS]}]})

    name: RouteName = Field(examples=["leads"], description="Name in logs, metrics and commands.")
    workflow_id: Text = Field(
        examples=["v0#Workflow#6b056f598d994d1ca98821cca221d07e#1721762149339"],
        description="The BulkGPT workflow that the files of this route are sent to; quote it.",
    )
    folder: AbsolutePath | None = Field(
        default=None,
        examples=["/srv/bulkgpt/leads"],
        description="Short for the folders inbox, outbox, error and archive in it; missing ones but the inbox are"
        " created.",
    )
    inbox: AbsolutePath | None = Field(
        default=None, description="Where files are dropped; null: `inbox` in `folder`; never created."
    )
    outbox: AbsolutePath | None = Field(
        default=None, description="Where results go; null: `outbox` in `folder`; must exist when given."
    )
    error: AbsolutePath | None = Field(
        default=None, description="Where failed files go; null: `error` in `folder`; must exist when given."
    )
    archive: AbsolutePath | None = Field(
        default=None,
        description="Where originals and receipts of delivered jobs go; null: `archive` in `folder`; must exist when"
        " given.",
    )
    work: AbsolutePath | None = Field(
        default=None,
        description="Our own folder for claimed files, on the file system of the inbox; null: `.bulkgpt-watchd` in the"
        " inbox; must exist when given.",
    )


class Route(RouteOptions):
    """
    Hold one route as the daemon uses it: defaults merged in, every folder known.

    Shape: all paths are absolute. *creatable* names those of outbox, error and archive that stem from `folder`: they
        may be created once the inbox exists; all others must exist.
    """

    name: str
    workflow_id: str
    inbox: Path
    outbox: Path
    error: Path
    archive: Path
    work: Path
    creatable: Annotated[frozenset[str], Field(strict=False)] = frozenset()


Options = TypeVar("Options", bound=Section)


def merge(defaults: Section, own: Options) -> Options:
    """Fill what *own* leaves out with what *defaults* sets, key by key, in nested mappings too."""
    filled: dict[str, object] = {}
    for key in defaults.model_fields_set:
        default, mine = getattr(defaults, key), getattr(own, key)
        if key not in own.model_fields_set:
            filled[key] = default
        elif isinstance(mine, Section):
            filled[key] = merge(default, mine)
    return own.model_copy(update=filled)
