"""Load the configuration: its files in, frozen settings out, or every mistake at once."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bulkgpt_watchd.config.addresses import is_loopback
from bulkgpt_watchd.config.checks import Draft, check_values, draft_routes
from bulkgpt_watchd.config.document import Document, Trail, read_document
from bulkgpt_watchd.config.included import read_config
from bulkgpt_watchd.config.mistakes import ConfigInvalid
from bulkgpt_watchd.config.models import ApiSettings, ConfigFile, ControlSettings, LogSettings, StateSettings
from bulkgpt_watchd.config.places import check_ca_file, check_places
from bulkgpt_watchd.config.route import BudgetSettings, Route, RouteOptions
from bulkgpt_watchd.config.web import WebSettings, check_web
from bulkgpt_watchd.config.wording import plain_words

STAND_INS = {"name": "nameless", "workflow_id": "none"}
"""Take the place of required keys that are missing, so that the other rules can still be checked."""

CHECK_ROUNDS = 4
"""Wrong values are set aside and the rest is checked again: the second round may miss what was set aside."""


NEAR = 0.7
"""How much of `state` or `control` an unknown key must have to be taken for it: `stat` or `contrl`, not `setle`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Say where a daemon is to be found."""

    state: StateSettings
    control: ControlSettings


@dataclass(frozen=True, slots=True)
class Settings(Place):
    """
    Hold a configuration that is right.

    Shape: *document* tells where each key was written; it does not count when two settings are compared.
    """

    api: ApiSettings
    web: WebSettings
    budget: BudgetSettings
    log: LogSettings
    routes: tuple[Route, ...]
    document: Document = field(compare=False, repr=False)


def default_path(environ: Mapping[str, str]) -> Path:
    """Say where the configuration is when no option names it."""
    return Path(environ.get("BULKGPT_WATCHD_CONFIG") or "/etc/bulkgpt-watchd/config.yaml")


def control_socket(place: Place, environ: Mapping[str, str]) -> Path:
    """Say where the daemon takes commands: as configured, in systemd's runtime folder, or beside the state."""
    runtime = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]  # systemd separates several by colons
    folder = Path(runtime) if runtime else place.state.path.parent
    return place.control.socket or folder / "control.sock"


def load(path: Path) -> Settings:
    """
    Load the configuration.

    Errors: ConfigInvalid, with every mistake that can be told at once. Folders of routes need not exist.
    """
    document = read_config(path)
    config = _validate(document)
    drafts = draft_routes(document, config)
    check_values(document, config, drafts)
    check_places(document, drafts)
    check_ca_file(document, config.api.ca_file)
    check_web(document, config.web)
    if config.api.api_key is not None and not document.is_private:
        message = "others can read this file: chmod 600 it, or put the key in a file of its own (api_key_file)"
        document.note(("api", "api_key"), message)
    if document.mistakes:
        raise ConfigInvalid(document.mistakes)
    return Settings(
        api=_open_loopback(config.api),
        state=config.state,
        control=config.control,
        web=config.web,
        budget=config.budget,
        log=config.log,
        routes=tuple(map(_route, drafts)),
        document=document,
    )


def locate(path: Path) -> Place:
    """
    Read where the daemon is to be found; what is wrong elsewhere does not matter to one that runs already.

    Errors: ConfigInvalid.
    """
    try:
        document = read_document(path)
    except ConfigInvalid:
        load(path)  # tells every mistake at once, those of included files too
        raise
    config = _validate(document)
    sections = {field.name for field in fields(Place)}
    ours = [*sections, *StateSettings.model_fields, *ControlSettings.model_fields]
    unknown = {key for key in map(str, document.data or ()) if not get_close_matches(key, ours, cutoff=NEAR)}
    elsewhere = ConfigFile.model_fields.keys() - sections | unknown
    if any(re.split(r"[.\[]", mistake.path)[0] not in elsewhere for mistake in document.mistakes):
        return load(path)  # tells every mistake at once
    return Place(config.state, config.control)


def _validate(document: Document) -> ConfigFile:
    """
    Check every value by itself, and give what is left when the wrong ones are set aside.

    Errors: ConfigInvalid: nothing is left.
    """
    data = {} if document.data is None else copy.deepcopy(document.data)
    if not isinstance(data, dict):
        document.note((), "must be a mapping, with lines such as `routes:`")
        raise ConfigInvalid(document.mistakes)
    for _ in range(CHECK_ROUNDS):
        try:
            return ConfigFile.model_validate(data, context={"folder": document.folder})
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                trail, kind = detail["loc"], detail["type"]
                if kind == "too_short" and detail["input"]:
                    continue  # every item of the list was wrong, and has been noted
                document.note(trail, plain_words(detail), of_key=kind == "extra_forbidden")
                with suppress(LookupError, TypeError):  # what it was in has been set aside already
                    _set_aside(data, trail, is_missing=kind == "missing")
    raise ConfigInvalid(document.mistakes)


def _set_aside(data: Any, trail: Trail, *, is_missing: bool) -> None:
    *around, last = trail
    holder = data
    for key in around:
        if holder[key] is None:
            holder[key] = {}  # a section with nothing in it
        holder = holder[key]
    if is_missing:
        holder[last] = STAND_INS[str(last)]
    elif isinstance(holder, dict):
        del holder[last]
    elif around == ["routes"]:
        holder[last] = {}  # the others keep their numbers
    else:
        _set_aside(data, tuple(around), is_missing=False)


def _open_loopback(api: ApiSettings) -> ApiSettings:
    """Let results come from this machine too when BulkGPT itself does (the sandbox), unless the file says otherwise."""
    if not is_loopback(api.base_url):
        return api
    unset = {"allow_private", "allow_http"} - api.download.model_fields_set
    download = api.download.model_copy(update=dict.fromkeys(unset, True))
    return api.model_copy(update={"download": download})


def _route(draft: Draft) -> Route:
    keys = ("name", "workflow_id", *RouteOptions.model_fields)
    values: dict[str, Any] = {key: getattr(draft.entry, key) for key in keys}
    values |= draft.folders
    return Route.model_construct(creatable=draft.creatable, **values)  # each value has been checked in the entry
