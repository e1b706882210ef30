"""The store of root and cluster: MongoDB, one document per record, one write per batch.

A record of kind ``instance`` and key ``k`` is the document ``{_id: k, …its fields}`` in the collection ``instance``, so
that people can read the database. A batch of several changes is one transaction, journaled by a majority: all or none,
and still there after a power cut. The server refuses a transaction that takes longer than 60 s; at tens of thousands of
documents a second `TIMEOUT_S` is reached first, at some 200,000 changes. Larger batches must be divided by the caller,
who knows where they may be cut.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import bson
import msgspec
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorClientSession, AsyncIOMotorCollection
from pymongo import DeleteOne, InsertOne, ReplaceOne
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from . import Change, Drop, Put, Record, StoreError, merged

TIMEOUT_S = 10.0
"""For any one call, with all the driver's own retries: who waits longer is better told."""

LOAD_BATCH = 20_000
"""Documents asked for at a time; the server cuts off at 16 MiB."""

_DUPLICATE_KEY = 11000
_NATIVE = (bytes,)
"""What BSON can hold as it is, beyond the types of JSON."""

Document = dict[str, Any]
Write = InsertOne[Document] | ReplaceOne[Document] | DeleteOne


class MongoStore:
    """Keeps records of `kinds` in one database of a replica set (one member is enough; transactions need it)."""

    def __init__(
        self, url: str, database: str, kinds: Mapping[str, type[Record]], *, timeout_s: float = TIMEOUT_S
    ) -> None:
        milliseconds = int(timeout_s * 1000)
        self._client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
            url, timeoutMS=milliseconds, serverSelectionTimeoutMS=milliseconds, connectTimeoutMS=milliseconds
        )
        self._database = self._client.get_database(
            database, write_concern=WriteConcern(w="majority", j=True), read_concern=ReadConcern("majority")
        )
        self._kinds = dict(kinds)
        self._stored: dict[str, set[str]] = {kind: set() for kind in kinds}
        """Keys known to be there: inserting a new document costs the server half of what replacing one does."""

    async def load(self) -> list[Record]:
        """Every record of all kinds; raises StoreError when out of reach or when a document is not of its type."""
        records: list[Record] = []
        for kind, record_type in self._kinds.items():
            found = await self._load_kind(kind, record_type)
            self._stored[kind] = {record.key for record in found}
            records += found
        return records

    async def save(self, changes: Sequence[Change]) -> None:
        """All of the changes or none, journaled by a majority on return; raises StoreError, after which call again."""
        last = merged(changes)
        if not last:
            return
        try:
            try:
                await self._write(last, self._stored)
            except BulkWriteError as error:
                if not _says_duplicate(error):
                    raise
                # Something is there that we did not know of: an earlier batch whose answer was lost.
                await self._write(last, None)
        except PyMongoError as error:
            raise StoreError(f"MongoDB did not take {len(last)} changes: {_in_words(error)}") from None
        self._remember(last)

    async def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    async def _load_kind(self, kind: str, record_type: type[Record]) -> list[Record]:
        records: list[Record] = []
        try:
            async for batch in self._collection(kind).find_raw_batches(batch_size=LOAD_BATCH):
                records += msgspec.convert(bson.decode_all(batch), list[record_type])
        except PyMongoError as error:
            raise StoreError(f"MongoDB did not give the records of kind {kind}: {error}") from error
        except msgspec.ValidationError as error:
            raise StoreError(f"the database {self._database.name} holds what is no {kind}: {error}") from error
        return records

    async def _write(self, changes: Sequence[Change], stored: Mapping[str, set[str]] | None) -> None:
        """One bulk write per collection, in one transaction if there is more than one change."""
        writes: defaultdict[str, list[Write]] = defaultdict(list)
        for change in changes:
            writes[change.record.kind if isinstance(change, Put) else change.kind].append(_write_of(change, stored))
        if len(changes) == 1:
            await self._write_each(writes, None)
            return
        concern = self._database.write_concern
        async with await self._client.start_session() as session, session.start_transaction(write_concern=concern):
            await self._write_each(writes, session)

    async def _write_each(self, writes: Mapping[str, list[Write]], session: AsyncIOMotorClientSession | None) -> None:
        for kind, operations in writes.items():
            # By type, so that it takes three commands at most; ordered, so that the first error is the one we hear of.
            operations.sort(key=lambda operation: type(operation).__name__)
            await self._collection(kind).bulk_write(operations, ordered=True, session=session)

    def _collection(self, kind: str) -> AsyncIOMotorCollection[Document]:
        return self._database[kind]

    def _remember(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if isinstance(change, Put):
                self._stored[change.record.kind].add(change.record.key)
            else:
                self._stored[change.kind].discard(change.key)


def _write_of(change: Change, stored: Mapping[str, set[str]] | None) -> Write:
    """The change as MongoDB wants it; an insert only where nothing of that key is known to be stored."""
    if isinstance(change, Drop):
        return DeleteOne({"_id": change.key})
    record = change.record
    document: Document = {"_id": record.key, **msgspec.to_builtins(record, builtin_types=_NATIVE)}
    if stored is None or record.key in stored[record.kind]:
        return ReplaceOne({"_id": record.key}, document, upsert=True)
    return InsertOne(document)


def _problems(error: PyMongoError) -> list[dict[str, Any]]:
    return (error.details or {}).get("writeErrors", []) if isinstance(error, BulkWriteError) else []


def _says_duplicate(error: BulkWriteError) -> bool:
    return any(problem.get("code") == _DUPLICATE_KEY for problem in _problems(error))


def _in_words(error: PyMongoError) -> str:
    """What went wrong without the documents themselves, which hold what users gave their workloads as environment."""
    return "; ".join(str(problem.get("errmsg")) for problem in _problems(error)[:1]) or str(error)
