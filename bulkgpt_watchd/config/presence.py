"""Tell which folders and groups of the routes are not there."""

from __future__ import annotations

import grp

from bulkgpt_watchd.config.document import Document, Trail
from bulkgpt_watchd.config.looking import Place, look_at
from bulkgpt_watchd.config.mistakes import Mistake
from bulkgpt_watchd.config.places import OUTPUTS
from bulkgpt_watchd.config.route import Route
from bulkgpt_watchd.config.settings import Settings
from bulkgpt_watchd.core.names import OURS, printable


def check_folders(settings: Settings) -> tuple[Mistake, ...]:
    """
    Tell which folders are not there.

    Not a part of loading: a missing folder makes its route wait, and it returns by itself.
    """
    document, routes = settings.document, settings.routes
    keys = ("inbox", *OUTPUTS, "work")
    places = look_at(getattr(route, key) for route in routes for key in keys)
    return tuple(
        document.mistake(_written(document, index, key), f"{key} {printable(str(getattr(route, key)))} {fault}")
        for index, route in enumerate(routes)
        for key in keys
        if (fault := _fault(route, key, places[getattr(route, key)]))
    )


def check_groups(settings: Settings) -> tuple[Mistake, ...]:
    """
    Tell which groups, to which results shall belong, this machine does not know.

    Not a part of loading: a directory service that is down makes results wait, and no file is lost by that.
    """
    names = {index: route.result.group for index, route in enumerate(settings.routes) if route.result.group is not None}
    return tuple(
        settings.document.mistake(("routes", index, "result", "group"), f"there is no group {printable(name)}")
        for index, name in names.items()
        if not _is_group(name)
    )


def _is_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _written(document: Document, index: int, key: str) -> Trail:
    """Find where a folder was written: at its own key, or at `folder`."""
    trails: tuple[Trail, Trail] = (("routes", index, key), ("routes", index, "folder"))
    return next((trail for trail in trails if document.is_given(trail)), trails[0])


def _fault(route: Route, key: str, place: Place) -> str | None:
    """Say what is wrong with a folder, as the end of a sentence that begins with its path."""
    may_be_missing = key in route.creatable or (key == "work" and route.work == route.inbox / OURS)
    match place.kind:
        case "folder":
            return None
        case "missing" if may_be_missing:
            return None
        case "missing" if key == "inbox":
            return (
                "does not exist; an inbox is never created, so that an unmounted share does not look like an empty one"
            )
        case "missing":
            return "does not exist"
        case "other":
            return "is not a folder"
        case "hung":
            return "does not answer: its file system hangs"
        case reason:
            return f"cannot be looked at: {reason}"
