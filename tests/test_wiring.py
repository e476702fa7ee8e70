"""What the store remembers of a route is the route."""

from __future__ import annotations

from pathlib import Path

from bulkgpt_watchd.config import load
from bulkgpt_watchd.service.wiring import dump_route, parse_route


def test_a_remembered_route_is_the_same_route(tmp_path: Path) -> None:
    """A removed route drains with its last settings, so none may be lost on the way through the state."""
    config = tmp_path / "config.yaml"
    config.write_text(
        """
routes:
  - name: leads
    workflow_id: w
    folder: leads
    match: ["*.csv", "*.txt"]
    csv: {required_columns: [a, b], delimiter: ";"}
    result: {mode: "0640", done_file: "{name}.ok"}
    ready: {done_file: "{name}.done"}
    settle: 250ms
    poll: {min: 1s, max: 2h}
"""
    )
    route = load(config).routes[0]

    assert parse_route(dump_route(route)) == route
