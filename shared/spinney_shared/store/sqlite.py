"""The node's store: one small SQLite file that survives a power cut and never blocks the event loop.

Write-ahead log with ``synchronous=FULL``: a batch that was saved is on the disk. The file is held exclusively, so that
two node processes never share one. A damaged file is moved aside rather than kept in the way: the node's owner sends
everything again, and the containers say what runs.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import msgspec

from . import Change, Put, Record, StoreError, merged

BUSY_S = 2.0
"""How long to wait for another process that is just closing the file."""

_SIDE_FILES = ("", "-wal", "-shm")
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TABLE = "CREATE TABLE IF NOT EXISTS records (kind TEXT, key TEXT, body TEXT, PRIMARY KEY (kind, key)) WITHOUT ROWID"

_log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()
_T = TypeVar("_T")


class SqliteStore:
    """Keeps records of `kinds` as JSON rows in the file `path`, which is made when it is not there.

    `damage` says in words what was wrong with a file that had to be moved aside; empty when nothing was.
    """

    def __init__(self, path: Path, kinds: Mapping[str, type[Record]]) -> None:
        self.damage = ""
        self._path = path
        self._decoders = {kind: msgspec.json.Decoder(record_type) for kind, record_type in kinds.items()}
        self._connection: sqlite3.Connection | None = None
        self._one_at_a_time = anyio.Lock()

    async def load(self) -> list[Record]:
        """Every record; raises StoreError when the file cannot be opened. A damaged file counts as empty."""
        return await self._in_thread(self._load)

    async def save(self, changes: Sequence[Change]) -> None:
        """All of the changes in one transaction, on the disk on return; raises StoreError."""
        if changes:
            await self._in_thread(lambda: self._save(merged(changes)))

    async def close(self) -> None:
        """Close the file; the next `load` or `save` opens it again."""
        await self._in_thread(self._close)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        """A thread, since one fsync takes from under a millisecond on an SSD to a second on a worn SD card."""
        async with self._one_at_a_time:
            try:
                return await anyio.to_thread.run_sync(work)
            except (sqlite3.Error, OSError) as error:
                raise StoreError(f"{self._path}: {error}") from error

    def _load(self) -> list[Record]:
        try:
            return self._read()
        except (sqlite3.DatabaseError, msgspec.DecodeError, StoreError) as error:
            if isinstance(error, sqlite3.DatabaseError) and error.sqlite_errorcode & 0xFF not in _DAMAGE:
                raise
            self._move_aside(str(error))
            return self._read()

    def _read(self) -> list[Record]:
        connection = self._open()
        (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise StoreError(verdict)
        rows = connection.execute("SELECT kind, body FROM records")
        return [self._decoders[kind].decode(body) for kind, body in rows if kind in self._decoders]

    def _save(self, changes: Sequence[Change]) -> None:
        puts = [
            (c.record.kind, c.record.key, _encoder.encode(c.record).decode()) for c in changes if isinstance(c, Put)
        ]
        drops = [(c.kind, c.key) for c in changes if not isinstance(c, Put)]
        with self._open() as connection:  # commits, or rolls back when anything is raised
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", puts)
            connection.executemany("DELETE FROM records WHERE kind = ? AND key = ?", drops)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)  # the records hold what users gave their workloads as environment
            connection = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_TABLE)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _move_aside(self, why: str) -> None:
        """Rename the file and what belongs to it, keeping the evidence; one older damaged file is overwritten."""
        self._close()
        self.damage = f"{self._path} was damaged ({why}); it is kept as {self._path}.damaged and a new one was begun"
        _log.error("%s", self.damage)
        for suffix in _SIDE_FILES:
            file = Path(f"{self._path}{suffix}")
            if file.exists():
                file.replace(f"{self._path}.damaged{suffix}")
