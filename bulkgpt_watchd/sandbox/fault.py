"""One planned fault: which call, when in it, and what happens then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from bulkgpt_watchd.sandbox.answer import EVERY_ROW
from bulkgpt_watchd.sandbox.vocabulary import (
    ACTS,
    ANSWER,
    BODIES,
    CALLS,
    END,
    KEYS,
    NEEDS,
    NEEDS_BODY,
    REPLIES,
    did_you_mean,
    listed,
)

_TOLD_CHARACTERS = 200
"""Of a fault without a name: enough to know it by; its body may be of any size."""


class WrongFault(ValueError):
    """Say which key of a fault is wrong and what it takes."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """
    One planned fault.

    Errors: WrongFault, if a value is not one that KEYS allows, or keys do not go together.
    """

    call: str
    nth: int = 1
    times: int | str = 1
    workflow: str | None = None
    sha256: str | None = None
    contains: str | None = None
    when: str | None = None
    until_s: float | None = None
    name: str = ""
    at: str = END
    body_bytes: int | None = None
    delay_s: float = 0
    reset: bool = False
    hang: bool = False
    accept: bool | None = None
    http_status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    json: Any = None
    error: str | None = None
    reply: str | None = None
    replace: Mapping[str, Any] = field(default_factory=dict)
    omit: tuple[str, ...] = ()
    link: str | None = None
    transfer: str | None = None
    answer_bytes: int | None = None
    bytes_per_s: float | None = None
    task_id: str | None = None
    task_end: str | None = None
    rows_failed: int | str = 0
    rows_missing: int = 0
    rows_extra: int = 0

    def __post_init__(self) -> None:
        for key in sorted(self.given, key=list(KEYS).index):
            try:
                object.__setattr__(self, key, KEYS[key].check(getattr(self, key)))
            except ValueError as error:
                raise WrongFault(key, f"{getattr(self, key)!r} is wrong: it takes {error}") from None
            if self.call not in KEYS[key].calls:
                raise WrongFault(key, f"does not go with call: {self.call}, only with {' or '.join(KEYS[key].calls)}")
        self._check_together()

    def _check_together(self) -> None:
        given = self.given
        if not given & ACTS:
            raise WrongFault("call", f"this fault does nothing; give it one of {', '.join(sorted(ACTS))}")
        if len(bodies := given & BODIES) > 1:
            raise WrongFault(min(bodies), f"give only one of {', '.join(sorted(bodies))}")
        if "reset" in given or "hang" in given:
            for key in sorted(given & (ANSWER | {"hang"}) if "reset" in given else given & ANSWER):
                raise WrongFault(key, f"cannot happen together with {'reset' if self.reset else 'hang'}")
        for key in sorted(given & NEEDS_BODY[self.at]):
            raise WrongFault(key, f"is not known, or too early, at: {self.at}; leave one of the two out")
        for key, needs, values in NEEDS:
            if key in given and getattr(self, needs) not in values:
                raise WrongFault(key, f"goes only with {needs}: {' or '.join(values)}")
        if self.reply is not None and self.call not in REPLIES[self.reply]:
            raise WrongFault("reply", f"{self.reply} goes only with call: {' or '.join(REPLIES[self.reply])}")

    @property
    def given(self) -> set[str]:
        """The keys that differ from their default."""
        return {each.name for each in fields(self) if getattr(self, each.name) not in _unset(each.name)}

    @property
    def accepts(self) -> bool:
        """Whether a submit that this fault hits is accepted all the same."""
        if self.accept is not None:
            return self.accept
        if self.reset or self.hang or self.error is not None:
            return False
        return (self.http_status or 200) < 300 or self.reply == "ordinary"

    @property
    def answers(self) -> bool:
        """Whether the answer is this fault's."""
        return bool(self.given & ANSWER)

    @property
    def failed_rows(self) -> int:
        return EVERY_ROW if isinstance(self.rows_failed, str) else self.rows_failed

    def __str__(self) -> str:
        return (
            self.name or " ".join(f"{key}={getattr(self, key)}" for key in KEYS if key in self.given)[:_TOLD_CHARACTERS]
        )

    def as_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in KEYS if key in self.given}


def fault_from(mapping: Mapping[str, Any]) -> Fault:
    """
    Make a fault of the words of a scenario file or a control call.

    Errors: WrongFault, which names the key.
    """
    for key in mapping:
        if key not in KEYS:
            raise WrongFault(str(key), f"unknown{did_you_mean(key, KEYS)}; known: {', '.join(KEYS)}")
    if "call" not in mapping:
        raise WrongFault("call", f"is missing; it takes {listed(*CALLS)}")
    return Fault(**mapping)


def _unset(key: str) -> tuple[Any, ...]:
    default = Fault.__dataclass_fields__[key]
    return ({},) if callable(default.default_factory) else (default.default,)
