"""A BulkGPT and a store that mean harm: every byte they send is a test's own, each connection has its own plan."""

from __future__ import annotations

import base64
import json
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from bulkgpt_watchd.sandbox import answer
from tests.adapters.loopback import Exchange, Loopback
from tests.system.bed import KEY
from tests.system.bulk import in_thread

Act = Callable[[Exchange], Awaitable[None]]
Plans = dict[str, Act | list[Act]]
"""What each route gets: the same each time, or one after the other and then what is ordinary."""

OF = "workflow of "
"""How a bed names the workflow of a route; what belongs to a route goes by the route's name here."""


@dataclass
class Hostile:
    """
    Do with each call of the API and each fetch what is planned for its route, and what BulkGPT does where nothing is.

    Shape: *submits*, *statuses* and *fetches* hold what each route gets, *links* other links than ours, *task_ids* what
        tasks are called. *whole*: whose submits came whole, in order; *asked*: how often about whose task.
    """

    submits: Plans = field(default_factory=dict)
    statuses: Plans = field(default_factory=dict)
    fetches: Plans = field(default_factory=dict)
    task_ids: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    whole: list[str] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    _results: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    api: Loopback = field(init=False)
    store: Loopback = field(init=False)

    @property
    def paid(self) -> Counter[str]:
        """Count the whole submits of each route."""
        return Counter(self.whole)

    async def be_api(self, exchange: Exchange) -> None:
        """Answer a call as the API."""
        assert exchange.headers["x-api-key"] == KEY
        if exchange.request_line.startswith("POST /upload-trigger "):
            await self._be_submitted(exchange)
        else:
            await exchange.read()
            name, _ = self._results.get(json.loads(exchange.body)["taskId"], ("", b""))
            self.asked[name] += 1
            await (planned(self.statuses, name) or self.tell)(exchange)

    async def _be_submitted(self, exchange: Exchange) -> None:
        await exchange.read()
        if not exchange.is_whole:
            return
        content = json.loads(exchange.body)
        name = content["workflowId"].removeprefix(OF)
        self.whole.append(name)
        task_id = self.task_ids.get(name, f"task {len(self.whole)} of {name}")
        self._results[task_id] = (name, answer(base64.b64decode(content["csvBase64"])))
        if act := planned(self.submits, name):
            await act(exchange)
        else:
            await exchange.reply(200, json.dumps({"taskId": task_id}).encode())

    async def tell(self, exchange: Exchange) -> None:
        """Tell of a task as BulkGPT does: it is complete."""
        task_id = json.loads(exchange.body)["taskId"]
        if task_id not in self._results:
            await exchange.reply(400, b'{"error": "Invalid Task ID."}')
            return
        name, _ = self._results[task_id]
        link = self.links.get(name, f"{self.store.url}/{quote(task_id, safe='')}?Signature=secret")
        status = {"status": "completed", "downloadUrl": link}
        await exchange.reply(200, json.dumps({"status": status}).encode())

    async def be_store(self, exchange: Exchange) -> None:
        """Answer a fetch as the store."""
        path = exchange.request_line.split()[1].partition("?")[0]
        name, result = self._results.get(unquote(path[1:]), ("", b""))
        if act := planned(self.fetches, name):
            await act(exchange)
        else:
            await exchange.reply(200, result)


def planned(plans: Plans, name: str) -> Act | None:
    """Take what a route gets next."""
    plan = plans.get(name)
    if isinstance(plan, list):
        return plan.pop(0) if plan else None
    return plan


@contextmanager
def served(script: Act, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[Loopback]:
    """Listen in a thread; no failure of the script is overlooked."""
    with in_thread(lambda: Loopback(script, host=host, tls=tls)) as (server, _):
        yield server
    assert server.failures == []


@contextmanager
def hostile() -> Iterator[Hostile]:
    """Run the API on 127.0.0.1 and the store on 127.0.0.2; the key is seen by the API alone."""
    world = Hostile()
    with served(world.be_api) as world.api, served(world.be_store, host="127.0.0.2") as world.store:
        yield world
        assert saw_key(world.store) == []


def saw_key(server: Loopback) -> list[str]:
    """Give the requests in which a server saw the key, or anything else that looks like a secret of ours."""
    seen = []
    for exchange in server.exchanges:
        told = exchange.request_line + repr(exchange.headers) + exchange.body.decode(errors="replace")
        if KEY in told or {"x-api-key", "authorization", "cookie"} & exchange.headers.keys():
            seen.append(told)
    return seen
