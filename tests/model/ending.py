"""Let a story come to its end: nothing is wrong any more, and every question is answered."""

from __future__ import annotations

from tests.daemon import Daemon
from tests.model import people
from tests.model.promises import check_end
from tests.model.world import KEYS, World

STORY_S = 40 * 86_400.0
"""How long the end may take: longer than all that a daemon waits for by itself."""

ANSWERS = 100
"""No story has so many questions; one whose answers raise new ones for ever is wrong."""


async def come_to_end(world: World, daemon: Daemon) -> None:
    """Adopt and resume all, answer every question, let all go on to its end, and hold it against the promises."""
    await daemon.run_for(1.0)
    for inbox in list(daemon.scheduler.inboxes.values()):
        if inbox.reason is not None:
            await daemon.acts.adopt("a person", inbox.name)
            await daemon.run_for(1.0)
    for key in (None, *KEYS):
        await daemon.acts.resume("a person", key)
    await daemon.run_to_idle(within_s=STORY_S)
    await daemon.run_to_idle(within_s=STORY_S)  # a file that replaced a waiting one is seen by another look
    for _ in range(ANSWERS):
        if not await people.questions(daemon):
            break
        await people.resolve(world, daemon, 0)
        await daemon.acts.resume("a person")
        await daemon.run_to_idle(within_s=STORY_S)
    await check_end(world)
