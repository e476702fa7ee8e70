"""
Write the example configuration and the reference from the models, so that neither can be out of date.

`python -m bulkgpt_watchd.config.example` writes both into the checkout it is run in.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from bulkgpt_watchd.config.models import ConfigFile
from bulkgpt_watchd.config.route import RouteEntry, RouteOptions
from bulkgpt_watchd.config.section import Section
from bulkgpt_watchd.config.wording import section_in

WIDTH = 110
"""Longest line of a comment; leaves room for the change marks of a diff."""

_NEEDS_NO_QUOTES = re.compile(r"[a-z/]([a-zA-Z0-9/._:-]*[a-zA-Z0-9/._-])?|[0-9]+[a-zA-Z]+")
_NOT_IN_YAML = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff]")

EXAMPLE_HEAD = """\
Every key of bulkgpt-watchd with its default. Only `routes` is needed; leave out what you do not change.
Durations: 200ms 5s 10m 2h 7d, or seconds. Sizes: 20MB (10^6), 512KiB (2^10), or bytes.
Relative paths are taken from the folder of this file. `bulkgpt-watchd config check` tells every mistake."""

REFERENCE_HEAD = """\
# Configuration

One YAML file, `/etc/bulkgpt-watchd/config.yaml`, or the one that `--config FILE` or `BULKGPT_WATCHD_CONFIG` names. The
smallest one that works:

```yaml
routes:
  - name: leads
    workflow_id: "v0#Workflow#6b056f598d994d1ca98821cca221d07e#1721762149339"
    folder: /srv/bulkgpt/leads
```

- `bulkgpt-watchd init DIR` writes a first one, and makes the folders of its route and the file of the key.
- `bulkgpt-watchd config example` prints a file with every key; `bulkgpt-watchd config check` tells every mistake at
  once, as `file:line:column: key: what is wrong`. A file with a mistake starts nothing (exit code 78).
- `bulkgpt-watchd config show` prints what the daemon makes of it, with every default and every folder.
- `bulkgpt-watchd config schema > config.schema.json` gives editors completion and marks: with
  `# yaml-language-server: $schema=config.schema.json` as the first line of the file.
- Scalars are those of YAML 1.2: only `true` and `false` are booleans, `on` and `1:30` are text, `0640` is the number
  640. Keys may not come twice. There are no `${VAR}`, no merge keys (`<<`) and no tags.
- Durations are `200ms`, `5s`, `10m`, `2h`, `7d` or a number of seconds, to the millisecond; sizes are `20MB` (1000²),
  `512KiB` (1024) or a number of bytes.
- Relative paths are taken from the folder of the configuration file. `~` is not expanded.

## More routes in files of their own

Each `*.yaml` in the folder `routes.d` beside the configuration file is a list of routes, written as below `routes:`.
They are read in the order of their names, after the routes of the configuration file, whose `defaults` count for them
too; relative paths are taken from its folder. Names that begin with a dot or end otherwise are left alone. A mistake
in one of these files is one of the configuration.

```yaml
- name: catalog
  workflow_id: "v0#Workflow#2f6e1c0b9a8d4e7f8c3b5a6d7e8f9012#1721762149340"
  folder: /srv/bulkgpt/catalog
```

## The API key

The first of these that is there counts:

1. systemd's credential: the file `bulkgpt-api-key` in `$CREDENTIALS_DIRECTORY`
2. the file that `api.api_key_file` names; one that everybody can read is a warning
3. the environment variable `BULKGPT_API_KEY`
4. `api.api_key` in the configuration file, if neither its group nor others can read the file (mode 0600)

## The folders of a route

`folder: X` stands for `X/inbox`, `X/outbox`, `X/error` and `X/archive`; each can be given by its own key instead.
What stems from `folder` is created when it is missing, once the inbox is there. An inbox is never created, since an
unmounted share must not look like an empty one; a folder given by its own key must exist. The archive is needed with
`on_success: delete` too: the receipts are written there.

These are mistakes, by real path (symbolic links followed): two routes with one inbox or one work folder; an inbox in
the inbox of a recursive route; an outbox, error or archive at or below any inbox or work folder, as results would be
taken for new files; the outbox, error or archive of a recursive route above any inbox; a work folder on another file
system than its inbox. Several routes may share an outbox, error or archive.
"""


def example() -> str:
    """Write a configuration with every key, its default and what it is for."""
    blocks = ["\n".join(_comment(EXAMPLE_HEAD, ""))]
    blocks += ["\n".join(_entry(key, ConfigFile, "")) for key in ConfigFile.model_fields]
    return "\n\n".join(blocks) + "\n"


def reference() -> str:
    """Write the page that explains every key."""
    blocks = [REFERENCE_HEAD]
    for key, field in ConfigFile.model_fields.items():
        blocks.append(f"## {key}\n\n{field.description}\n")
        if key != "defaults":
            rows = "".join(f"| `{name}` | {default} | {what} |\n" for name, default, what in _rows(_section(field), ""))
            blocks.append(f"| Key | Default | Meaning |\n|---|---|---|\n{rows}")
    return "\n".join(blocks)


def _section(field: FieldInfo) -> type[Section]:
    section = section_in(field.annotation)
    if section is None:
        raise TypeError("every key at the top must hold a section")
    return section


def _keys(section: type[Section]) -> list[str]:
    """Give the keys of a section; in a route those that `defaults` cannot set come first."""
    later = RouteOptions.model_fields if section is RouteEntry else {}
    return sorted(section.model_fields, key=lambda key: key in later)


def _default(section: type[Section], key: str) -> Any:
    """Give a default as it is written in YAML."""
    return section.model_construct().model_dump(mode="json").get(key)


def _entry(key: str, section: type[Section], indent: str) -> Iterator[str]:
    """Write one key, with all that is below it."""
    field = section.model_fields[key]
    yield from _comment(field.description or "", indent)
    inner = section_in(field.annotation)
    if inner is None or key == "defaults":
        value = {} if inner else (field.examples or [_default(section, key)])[0]
        yield f"{indent}{key}: {scalar(value)}"
        return
    yield f"{indent}{key}:"
    below = [line for name in _keys(inner) for line in _entry(name, inner, f"{indent}  ")]
    yield from _as_item(below) if key == "routes" else below


def _as_item(lines: list[str]) -> Iterator[str]:
    """Make one item of a list: a dash before its first key, the comment above it at the same depth."""
    first = next(number for number, line in enumerate(lines) if not line.lstrip().startswith("#"))
    yield from lines[:first]
    yield f"  - {lines[first].lstrip()}"
    yield from (f"  {line}" for line in lines[first + 1 :])


def _rows(section: type[Section], prefix: str) -> Iterator[tuple[str, str, str]]:
    for key in _keys(section):
        field = section.model_fields[key]
        if inner := section_in(field.annotation):
            yield from _rows(inner, f"{prefix}{key}.")
        else:
            default = "needed" if field.is_required() else f"`{scalar(_default(section, key))}`"
            yield f"{prefix}{key}", default, field.description or ""


def _comment(text: str, indent: str) -> list[str]:
    prefix = f"{indent}# "
    return [
        line
        for part in text.splitlines()
        for line in textwrap.wrap(part, WIDTH, initial_indent=prefix, subsequent_indent=prefix)
    ]


def scalar(value: Any) -> str:
    """Write a value in YAML; JSON is a part of it, and quotes are left out where nothing else could be read."""
    if isinstance(value, str) and _NEEDS_NO_QUOTES.fullmatch(value) and value not in {"null", "true", "false"}:
        return value
    text = json.dumps(value, ensure_ascii=False)  # it would write half characters, which YAML does not know
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


if __name__ == "__main__":
    Path("config.example.yaml").write_text(example(), encoding="utf-8")
    Path("docs/configuration.md").write_text(reference(), encoding="utf-8")
