"""What tests of a local actor system give to it: actors that fail or do nothing, and an extension that records."""

from __future__ import annotations

from typing import Any

from inaho.actor import Actor, ActorContext, ActorSystem, Props, Restart, Supervisor

AT_ONCE = Restart(max_restarts=3, within_s=60.0, back_off_s=0.0)


class Worker(Actor):
    """Writes its life into a log that outlives it; raises what it is sent."""

    def __init__(self, log: list[str], children: dict[str, Props] | None = None) -> None:
        self.log = log
        self.children = children or {}
        self.count = 0

    def write(self, text: str) -> None:
        self.log.append(f"{self.context.self_ref.name} {text}")

    async def on_start(self) -> None:
        self.write("start")
        for name, props in self.children.items():
            self.context.spawn(props, name)

    async def receive(self, message: Any) -> None:
        if isinstance(message, BaseException):
            raise message
        self.count += 1
        self.write(f"{message} {self.count}")
        self.context.reply(self.count)

    async def on_stop(self) -> None:
        self.write("stop")

    async def on_restart(self, error: Exception) -> None:
        self.write(f"restart {error}")


def worker(log: list[str], supervisor: Supervisor, **children: Props) -> Props:
    return Props(lambda: Worker(log, children), supervisor=supervisor)


class Recording:
    """An extension that writes what happens to it."""

    def __init__(self, name: str, log: list[str], *, fails: str = "") -> None:
        self.name = name
        self.log = log
        self.fails = fails

    async def install(self, system: ActorSystem) -> None:
        self.log.append(f"install {self.name}")
        if self.fails == "install":
            raise OSError(f"{self.name} cannot install")

    async def stop(self) -> None:
        self.log.append(f"stop {self.name}")
        if self.fails == "stop":
            raise OSError(f"{self.name} cannot stop")


async def idle(_: ActorContext, message: Any) -> None: ...
