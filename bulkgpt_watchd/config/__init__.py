"""Turn YAML into frozen settings, or into every mistake at once with file, line and column."""

from __future__ import annotations

from bulkgpt_watchd.config.api_key import ApiKey, read_api_key
from bulkgpt_watchd.config.included import overlooked
from bulkgpt_watchd.config.mistakes import ConfigInvalid, Mistake
from bulkgpt_watchd.config.models import ApiSettings, ControlSettings, DownloadSettings, LogSettings, StateSettings
from bulkgpt_watchd.config.presence import check_folders, check_groups
from bulkgpt_watchd.config.route import (
    BudgetSettings,
    CsvSettings,
    KeepSettings,
    PollSettings,
    ReadySettings,
    ResultSettings,
    Route,
)
from bulkgpt_watchd.config.settings import Place, Settings, control_socket, default_path, load, locate
from bulkgpt_watchd.config.web import Address, Token, WebSettings, address_of, read_token

__all__ = [
    "Address",
    "ApiKey",
    "ApiSettings",
    "BudgetSettings",
    "ConfigInvalid",
    "ControlSettings",
    "CsvSettings",
    "DownloadSettings",
    "KeepSettings",
    "LogSettings",
    "Mistake",
    "Place",
    "PollSettings",
    "ReadySettings",
    "ResultSettings",
    "Route",
    "Settings",
    "StateSettings",
    "Token",
    "WebSettings",
    "address_of",
    "check_folders",
    "check_groups",
    "control_socket",
    "default_path",
    "load",
    "locate",
    "overlooked",
    "read_api_key",
    "read_token",
]
