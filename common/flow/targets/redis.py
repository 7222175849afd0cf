"""A mark in Redis as a target. Needs the extra ``redis``."""

from __future__ import annotations

import datetime
import os
import threading
from typing import TYPE_CHECKING, Any, Final

from flow.extras import need
from flow.parameters.defaults import settings
from flow.targets.base import Target

if TYPE_CHECKING:
    from redis import Redis

EXTRA: Final = "redis"

_clients: dict[Any, Redis] = {}
_lock = threading.Lock()


def _after_fork() -> None:
    """A lock that another thread held stays held in the child; clients look after themselves."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


class RedisTarget(Target):
    """Something that was done, marked in Redis: a hash under ``luigi:<update_id>``.

    Key and fields are those of Luigi's ``contrib.redis_store``, so what Luigi marked counts.

    Args:
        host: Where Redis is.
        port: And its port.
        db: Number of the database.
        update_id: Names what was done; a task's id, usually.
        password: Of the server.
        socket_timeout: Seconds to wait for an answer; None: for ever.
        expire: Seconds after which the mark goes by itself; None: never.
    """

    #: Before the update id in the key; None: as ``[redis] marker_prefix`` says.
    marker_prefix: str | None = None

    def __init__(
        self,
        host: str,
        port: int,
        db: int,
        update_id: str,
        password: str | None = None,
        socket_timeout: float | None = None,
        expire: int | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.db = db
        self.update_id = update_id
        self.password = password
        self.socket_timeout = socket_timeout
        self.expire = expire

    def __str__(self) -> str:
        return self.marker_key()

    def __repr__(self) -> str:
        where = f"{self.host!r}, {self.port!r}, {self.db!r}"
        return f"{type(self).__name__}({where}, {self.update_id!r})"

    @property
    def redis_client(self) -> Redis:
        """The client of this process; targets on the same server share it and its connections."""
        key = (self.host, self.port, self.db, self.password, self.socket_timeout)
        with _lock:
            client = _clients.get(key)
            if client is None:
                redis = need("redis", EXTRA, "RedisTarget")
                client = _clients[key] = redis.Redis(
                    host=self.host,
                    port=self.port,
                    db=self.db,
                    password=self.password,
                    socket_timeout=self.socket_timeout,
                )
            return client

    def marker_key(self) -> str:
        """Return the key of the mark."""
        return f"{self.marker_prefix or settings().redis.marker_prefix}:{self.update_id}"

    def touch(self) -> None:
        """Mark it as done, and start ``expire`` anew, in one step."""
        key = self.marker_key()
        now = datetime.datetime.now().isoformat()
        fields: dict[Any, Any] = {"update_id": self.update_id, "date": now}
        with self.redis_client.pipeline(transaction=True) as commands:
            commands.hset(key, mapping=fields)
            if self.expire is None:
                commands.persist(key)
            else:
                commands.expire(key, self.expire)
            commands.execute()

    def exists(self) -> bool:
        """Tell whether it is marked as done."""
        return bool(self.redis_client.exists(self.marker_key()))
