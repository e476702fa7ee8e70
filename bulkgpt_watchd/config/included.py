"""Read the configuration together with the routes in `routes.d/*.yaml` beside it."""

from __future__ import annotations

import os
from pathlib import Path

from bulkgpt_watchd.config.document import Document, include_list, read_document
from bulkgpt_watchd.config.mistakes import ConfigInvalid, Mistake
from bulkgpt_watchd.config.reading import Unreadable, read_names

FOLDER = "routes.d"

A_LIST = "must be a list of routes, with lines such as `- name: leads`"


def read_config(file: Path) -> Document:
    """
    Read the configuration, and add the routes of each included file to its own.

    Shape: what is wrong in an included file is in `mistakes` of the document, and the others are read all the same.
    Errors: ConfigInvalid: the configuration itself cannot be read at all.
    """
    try:
        document = read_document(file)
    except ConfigInvalid as invalid:
        document = Document(file, mistakes=[*invalid.mistakes])
        _include(document)
        raise ConfigInvalid(document.mistakes) from None
    _include(document)
    return document


def overlooked(document: Document) -> list[Path]:
    """Give what was not included although somebody may think so: `.yml` is not `.yaml`."""
    folder = document.file.parent / FOLDER
    names = read_names(folder) if os.path.isdir(folder) else []
    return [folder / name for name in names if name.endswith(".yml") and not name.startswith(".")]


def _include(document: Document) -> None:
    folder = document.file.parent / FOLDER
    if document.data is None:
        document.data = {}
    if not isinstance(document.data, dict):
        return
    own = document.data.get("routes")
    is_list = own is None or isinstance(own, list)
    document.data["routes"] = own if isinstance(own, list) else []
    names = []
    try:
        names = read_names(folder) if os.path.lexists(folder) else []
    except Unreadable as unreadable:
        document.mistakes.append(Mistake(folder, None, None, "", str(unreadable)))
    for name in names:
        if name.endswith(".yaml") and not name.startswith("."):
            document.included.append(folder / name)
            try:
                include_list(document, folder / name, "routes", A_LIST)
            except ConfigInvalid as invalid:
                document.mistakes += invalid.mistakes
    if not is_list and document.data["routes"]:
        document.mistakes.append(document.mistake(("routes",), A_LIST))  # not noted: what was included is checked too
    elif not is_list:
        document.note(("routes",), A_LIST)
