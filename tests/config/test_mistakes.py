from __future__ import annotations

from collections.abc import Callable

import pytest

from bulkgpt_watchd.config import ConfigInvalid, load
from bulkgpt_watchd.config.quantities import DURATION_FORMS, SIZE_FORMS
from bulkgpt_watchd.config.wording import key_paths
from tests.config.conftest import ROUTE, WriteConfig

TEMPLATE = "must be a file name in which {…} is one of"
TAKEN = "`match` would take the markers for input; let them end otherwise"
NAME = "must be 1 to 64 letters, digits, - _ or . and begin with a letter or a digit"
HOST = "must be a host name such as files.example.com, or *.example.com for all below it"
FOLDER = "this key is missing; or give inbox, outbox, error and archive each"

MistakesOf = Callable[[str | bytes], list[str]]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("api: {timout: 1s}", "1:7: api.timout: unknown key; did you mean 'timeout'?"),
        ("settle: 1s", "1:1: settle: unknown key here; did you mean 'defaults.settle'?"),
        ("frobnicate: 1", "1:1: frobnicate: unknown key"),
        ("API: {}", "1:1: API: unknown key; did you mean 'api'?"),
        ("api: {Max-Outstanding: 4}", "1:7: api.Max-Outstanding: unknown key; did you mean 'max_outstanding'?"),
        ("budget: {rows_per_day: 0}", "1:24: budget.rows_per_day: must be at least 1"),
        ("budget: {row_per_day: 5}", "1:10: budget.row_per_day: unknown key; did you mean 'rows_per_day'?"),
        ("notify: {}", "1:1: notify: not implemented in this version; leave it out"),
        ("defaults: {split: {mode: auto}}", "1:12: defaults.split: not implemented in this version; leave it out"),
        (
            "defaults: {keep: {history: 1h}}",
            "1:28: defaults.keep.history: history (1h) must not be shorter than duplicate_window (12h)",
        ),
        (
            "defaults: {duplicate_window: 365d}",
            "1:30: defaults.duplicate_window: history (180d) must not be shorter than duplicate_window (365d)",
        ),
        (
            "defaults: {keep: {archive: 200d}}",
            "1:28: defaults.keep.archive: history (180d) must not be shorter than archive (200d): it says what is ours",
        ),
        (
            "defaults: {csv: {encoding: auto}}",
            "1:18: defaults.csv.encoding: not implemented in this version; leave it out",
        ),
        (
            "defaults: {csv: {normalize: 1}}",
            "1:18: defaults.csv.normalize: not implemented in this version; leave it out",
        ),
        ("defaults: {folder: /x}", "1:12: defaults.folder: unknown key here; did you mean 'routes[].folder'?"),
        (
            "defaults: {<<: {}}",
            "1:12: defaults.<<: unknown key; merge keys are not YAML 1.2, put what routes share under defaults",
        ),
        ("api: []", "1:6: api: must be a mapping, with lines such as `key: value`"),
        ("api: {timeout: fast}", f"1:16: api.timeout: must be a duration: {DURATION_FORMS}"),
        ("api: {timeout: 0}", "1:16: api.timeout: must be greater than 0"),
        ("api: {timeout: -5}", f"1:16: api.timeout: must not be negative: {DURATION_FORMS}"),
        ("api: {timeout: }", "1:15: api.timeout: has no value; leave the key out for its default"),
        ("api: {max_upload_bytes: 5 MBit}", f"1:25: api.max_upload_bytes: must be a size: {SIZE_FORMS}"),
        ("api: {max_upload_bytes: 0}", "1:25: api.max_upload_bytes: must be greater than 0"),
        ("api: {max_concurrent_submits: 0}", "1:31: api.max_concurrent_submits: must be at least 1"),
        ("api: {max_concurrent_submits: '4'}", "1:31: api.max_concurrent_submits: must be a whole number"),
        ("api: {max_outstanding: 9999999999}", "1:24: api.max_outstanding: must be at most 1000000000"),
        ("api: {max_outstanding: 1.5}", "1:24: api.max_outstanding: must be a whole number"),
        ("api: {max_outstanding: ~}", "1:24: api.max_outstanding: has no value; leave the key out for its default"),
        ("api: {max_outstanding: true}", "1:24: api.max_outstanding: must be a whole number"),
        ("api: {retry: {min: 2h}}", "1:20: api.retry.min: min (2h) must not be larger than max (10m)"),
        ("api: {retry: {max: 1s}}", "1:20: api.retry.max: min (5s) must not be larger than max (1s)"),
        ("api: {download: {allow_http: yes}}", "1:30: api.download.allow_http: must be true or false"),
        (
            "api: {download: {hosts: [a b]}}",
            f"1:26: api.download.hosts[0]: {HOST}",
        ),
        ("api: {download: {hosts: []}}", "1:25: api.download.hosts: must not be an empty list"),
        ("api: {download: {hosts: x}}", '1:25: api.download.hosts: must be a list, such as ["a", "b"]'),
        (
            "api: {proxy: socks5://h}",
            "1:14: api.proxy: must be an address that begins with https:// (or http://) and names a host",
        ),
        (
            "api: {proxy: http://h/x}",
            "1:14: api.proxy: must be an address without a path, such as http://proxy.example:3128",
        ),
        ("api: {ca_file: /nowhere/ca.pem}", "1:16: api.ca_file: /nowhere/ca.pem does not exist"),
        ("api: {ca_file: ~/ca.pem}", "1:16: api.ca_file: must be a whole path: ~ is not expanded"),
        ("api: {api_key_file: 5}", "1:21: api.api_key_file: must be a path"),
        ('state: {path: ""}', "1:15: state.path: must be a path"),
        ('state: {path: "a\\0b"}', "1:15: state.path: must be a path without NUL characters"),
        ("log: {format: xml}", "1:15: log.format: must be auto, console or json"),
        ("log: {level: 1}", "1:14: log.level: must be debug, info, warning or error"),
        ("defaults: {poll: {min: 2m}}", "1:24: defaults.poll.min: min (2m) must not be larger than max (1m)"),
        ("defaults: {ready: {done_file: '{name}.CSV'}}", f"1:31: defaults.ready.done_file: {TAKEN}"),
    ],
)
def test_each_mistake_is_told_with_its_place(mistakes_of: MistakesOf, text: str, mistake: str) -> None:
    assert mistakes_of(text + ROUTE) == [mistake]


@pytest.mark.fault("S24")
@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("http://api.bulkgpt.ai", "must begin with https://, or the API key would cross the network unencrypted"),
        ("http://127.0.0.1.example.com", "must begin with https://"),
        ("http://192.168.0.1", "must begin with https://"),
        ("ftp://x", "must be an address that begins with https:// (or http://) and names a host"),
        ("api.bulkgpt.ai", "must be an address that begins with"),
        ("https://", "must be an address that begins with"),
        ("https:///x", "must be an address that begins with"),
        ("https://[::1", "must be an address such as https://api.bulkgpt.ai"),
        ("https://h:99999", "must be an address such as"),
        ("https://h:x", "must be an address such as"),
        ("https://h:0", "must not name port 0"),
        ("https://h/?a=1", "must not carry a query (?…) or a fragment (#…)"),
        ("https://h/?", "must not carry a query"),
        ("https://h/#a", "must not carry a query"),
        ("https://user:hunter2@h", "must not carry a user or a password"),
        ("https://h /x", "must be an address without spaces or special characters"),
        ("https://ä.example", "must be an address without spaces or special characters"),
        ("https://h\\nx", "must be an address without spaces or special characters"),
    ],
)
def test_an_address_that_cannot_be_the_api_is_refused(mistakes_of: MistakesOf, address: str, fault: str) -> None:
    (told,) = mistakes_of(f'api: {{base_url: "{address}"}}{ROUTE}')

    assert told.startswith(f"1:17: api.base_url: {fault}")
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        ("match: []", "match: must not be an empty list"),
        ("match: ['']", "match[0]: must not be empty"),
        (
            "match: [a/b]",
            "match[0]: must be a pattern for a file name, without /; `recursive: true` looks into sub-folders",
        ),
        ("match: [1]", "match[0]: must be text; put it in quotes"),
        ("match: '*.csv'", 'match: must be a list, such as ["a", "b"]'),
        ("done_file: '{name}.done'", "done_file: unknown key here; did you mean 'ready.done_file'?"),
        ("min: 1s", "min: unknown key here; did you mean 'poll.min'?"),
        ("rows_per_day: 5", "rows_per_day: unknown key here; did you mean 'budget.rows_per_day'?"),
        ("recursive: on", "recursive: must be true or false"),
        ("watch: inotify", "watch: must be auto, events or scan"),
        ("scan_every: 0", "scan_every: must be greater than 0"),
        ("hold_backlog: -1", "hold_backlog: must be at least 0"),
        ("csv: {delimiter: ';;'}", 'csv.delimiter: must be auto or one character, such as ";" or "\\t"'),
        ("csv: {delimiter: '\"'}", 'csv.delimiter: must be auto or one character, such as ";" or "\\t"'),
        ("csv: {max_rows: 0}", "csv.max_rows: must be at least 1"),
        ("csv: {required_columns: [a, ' b']}", "csv.required_columns[1]: must not begin or end with a space"),
        ("csv: {check: of}", "csv.check: must be basic or off"),
        (
            "ready: {done_file: ready}",
            "ready.done_file: must contain {name}, the name of the file that the marker belongs to",
        ),
        ("ready: {done_file: '{name}.{job}'}", f"ready.done_file: {TEMPLATE} {{name}} {{stem}}"),
        ("ready: {done_file: '{name}'}", f"ready.done_file: {TAKEN}"),
        ("ready: {done_file: 'x/{name}'}", "ready.done_file: must be a file name, without /"),
        ("result: {name: ''}", "result.name: must not be empty"),
        ("result: {name: '{nam}'}", f"result.name: {TEMPLATE} {{job}} {{name}} {{stem}} {{suffix}}"),
        ("result: {name: '{name!r}'}", f"result.name: {TEMPLATE} {{job}} {{name}} {{stem}} {{suffix}}"),
        ("result: {name: '{na{job}me}'}", f"result.name: {TEMPLATE} {{job}} {{name}} {{stem}} {{suffix}}"),
        ("result: {name: 'out/{name}'}", "result.name: must be a file name, without /"),
        (
            "result: {name: '.{name}'}",
            "result.name: must not begin with a dot: those names are for results that are still being written",
        ),
        ('result: {name: "{name}\\n"}', "result.name: must not contain control characters or line breaks"),
        (
            "result: {done_file: 'ready'}",
            "result.done_file: must contain {name}, {stem} or {job}, or all results would share one marker",
        ),
        ("result: {done_file: '{stem}{suffix}'}", "result.done_file: must not be the name of the result itself"),
        (
            "result: {mode: 0640}",
            'result.mode: must be a file mode: write three octal digits in quotes, such as "0640"',
        ),
        ("result: {group: 100}", "result.group: must be text; put it in quotes"),
        ("on_success: keep", "on_success: must be archive or delete"),
        ("duplicates: ignore", "duplicates: must be error or submit"),
        ("on_partial: ''", "on_partial: must be deliver or error"),
        ("min_free: 10%", f"min_free: must be a size: {SIZE_FORMS}"),
        ("poll: {min: 5m}", "poll.min: min (5m) must not be larger than max (1m)"),
    ],
)
def test_each_mistake_in_a_route_names_the_route(mistakes_of: MistakesOf, keys: str, mistake: str) -> None:
    (told,) = mistakes_of(f"{ROUTE}    {keys}\n")

    assert told.startswith("6:")
    assert told.split(": ", 1)[1] == f"routes[leads].{mistake}"


@pytest.mark.parametrize(
    ("entry", "mistakes"),
    [
        (
            "{}",
            [
                "1:11: routes[0].name: this key is missing",
                "1:11: routes[0].workflow_id: this key is missing",
                f"1:11: routes[0].folder: {FOLDER}",
            ],
        ),
        (
            "~",
            [
                "1:11: routes[0].name: this key is missing",
                "1:11: routes[0].workflow_id: this key is missing",
                f"1:11: routes[0].folder: {FOLDER}",
            ],
        ),
        (
            "{name: , workflow_id: ~, folder: /a, match: [~]}",
            [
                "1:17: routes[0].name: has no value",
                "1:33: routes[0].workflow_id: has no value",
                "1:56: routes[0].match[0]: has no value",
            ],
        ),
        ("leads", ["1:11: routes[0]: must be a mapping, with lines such as `key: value`"]),
        ("{name: a, workflow_id: w}", [f"1:11: routes[a].folder: {FOLDER}"]),
        ("{name: a, workflow_id: w, folder: 5}", ["1:45: routes[a].folder: must be a path"]),
        (
            "{name: a, workflow_id: w, inbox: /i, outbox: /o, error: /e}",
            ["1:11: routes[a].archive: this key is missing, since there is no folder"],
        ),
        (
            "{name: a, workflow_id: w, inbox: /i, outbox: /o, error: /e, on_success: delete}",
            ["1:11: routes[a].archive: this key is missing, since there is no folder"],
        ),
        ("{name: -a, workflow_id: w, folder: /a}", [f"1:18: routes[0].name: {NAME}"]),
        (f"{{name: {'a' * 65}, workflow_id: w, folder: /a}}", [f"1:18: routes[0].name: {NAME}"]),
        (
            "{name: 5, workflow_id: 6, folder: /a}",
            [
                "1:18: routes[0].name: must be text; put it in quotes",
                "1:34: routes[0].workflow_id: must be text; put it in quotes",
            ],
        ),
        (
            '{name: a, workflow_id: "a\\nb", folder: /a}',
            ["1:34: routes[a].workflow_id: must not contain control characters or line breaks"],
        ),
        ('{name: a, workflow_id: "", folder: /a}', ["1:34: routes[a].workflow_id: must not be empty"]),
    ],
)
def test_a_route_says_what_it_lacks(mistakes_of: MistakesOf, entry: str, mistakes: list[str]) -> None:
    told = mistakes_of(f"routes: [ {entry}, {{name: z, workflow_id: w, folder: /z}} ]")

    assert told == mistakes


def test_two_routes_of_one_name_are_told(mistakes_of: MistakesOf) -> None:
    assert mistakes_of(f"{ROUTE}  - name: leads\n    workflow_id: v\n    folder: /srv/b\n") == [
        "6:11: routes[leads].name: is the name of the route in line 3 too"
    ]


def test_a_mistake_of_the_defaults_is_told_once(mistakes_of: MistakesOf) -> None:
    second = "  - {name: b, workflow_id: w, folder: /b}\n"
    third = "  - {name: c, workflow_id: w, folder: /c, poll: {min: 9m}}\n"

    assert mistakes_of(f"defaults: {{poll: {{min: 7m}}}}{ROUTE}{second}{third}") == [
        "1:24: defaults.poll.min: min (7m) must not be larger than max (1m)",
        "7:55: routes[c].poll.min: min (9m) must not be larger than max (1m)",
    ]


def test_one_wrong_value_hides_no_other_mistake(mistakes_of: MistakesOf) -> None:
    """Values, rules between keys, and rules between folders are told in one go."""
    text = """\
api: {timeout: soon, retry: {min: 1h}}
routes:
  - {name: a, folder: /srv/a, poll: {min: often, max: 1s}}
  - {name: a, workflow_id: w, inbox: /srv/a/inbox, outbox: 5, error: /srv/a/inbox/e, archive: /srv/z, match: [1, 2]}
"""

    assert mistakes_of(text) == [
        f"1:16: api.timeout: must be a duration: {DURATION_FORMS}",
        "1:35: api.retry.min: min (1h) must not be larger than max (10m)",
        "3:5: routes[a].workflow_id: this key is missing",
        f"3:43: routes[a].poll.min: must be a duration: {DURATION_FORMS}",
        "4:12: routes[a].name: is the name of the route in line 3 too",
        "4:38: routes[a].inbox: is the inbox of route a too",
        "4:60: routes[a].outbox: must be a path",
        "4:70: routes[a].error: lies in the inbox of route a: what is put there would be taken as a new file",
        "4:111: routes[a].match[0]: must be text; put it in quotes",
        "4:114: routes[a].match[1]: must be text; put it in quotes",
    ]


SECRET = "sk-THIS-IS-THE-KEY-0123456789"


@pytest.mark.parametrize("path", [path for path in key_paths() if not path.endswith(("workflow_id", "name"))])
def test_a_key_typed_on_a_wrong_line_is_in_no_message(write: WriteConfig, path: str) -> None:
    *sections, key = path.split(".")
    text = f"{key}: {SECRET}\n"
    for section in reversed(sections):
        inner = text.replace("\n", "\n  ").rstrip(" ")
        text = f"routes:\n- name: a\n  {inner}" if section == "routes[]" else f"{section}:\n  {inner}"
    with pytest.raises(ConfigInvalid) as caught:
        load(write(f"{text}log: {{level: {SECRET}}}"))

    assert SECRET not in str(caught.value).replace(f"/{SECRET}", "")  # a path is told where folders quarrel


@pytest.mark.parametrize(
    "text",
    [
        f"api_key: *{SECRET}",
        f"api_key: !{SECRET} x",
        f"api_key: &{SECRET} x\nb: &{SECRET} y",
        f'api_key: "\\q{SECRET}"',
    ],
)
def test_a_key_that_is_no_yaml_is_in_no_message(mistakes_of: MistakesOf, text: str) -> None:
    assert SECRET not in "".join(mistakes_of(text))
