"""Puts the parts of the semantic cache together, and takes care of what of it goes on beside the calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from gateway_project.config import Config
from pipeline.cache_shelf import Shelf
from pipeline.semantic.embedders import Embedders, Model
from pipeline.semantic.hits import Hits
from pipeline.semantic.lazily import Lazily
from pipeline.semantic.metrics import SemanticMetrics
from pipeline.semantic.stage import Answers
from pipeline.semantic.stores import VectorStore
from routing.semantic import LOCAL
from routing.semantic_hits import Event
from routing.semantic_table import SemanticTable
from routing.snapshot import Snapshot
from routing.writer import TableWriter


class SemanticParts:
    """`answers` is what the pipeline works with. Nothing is loaded or connected before a route needs it."""

    def __init__(self, config: Config, shelf: Shelf, registry: CollectorRegistry) -> None:
        hits = Hits()
        self._writer: TableWriter[Sequence[Event]] = TableWriter(
            "hits of like questions", hits, SemanticTable()
        )
        local: Lazily[Model] = Lazily("pipeline.semantic.local_model", _local)
        self._vectors: Lazily[VectorStore] = Lazily("pipeline.semantic.open_store", partial(_store, config))
        self.answers = Answers(shelf, Embedders(local), self._vectors, SemanticMetrics(registry), hits)

    def start(self, snapshot: Snapshot) -> None:
        """Begin, and load what the routes already ask for, before the first call does."""
        self._writer.start()
        asking = [route.semantic for route in snapshot.routes if route.semantic is not None]
        if asking:
            self._vectors.get()
        if any(semantic.embedder == LOCAL for semantic in asking):
            self.answers.embedders.warm()

    async def stop(self) -> None:
        """Write what is left, and give back what is held."""
        await asyncio.to_thread(self._writer.stop)
        store = self._vectors.made
        if store is not None:
            await store.aclose()


def _local(module: Any) -> Model:
    model: Model = module.LocalModel()
    return model


def _store(config: Config, module: Any) -> VectorStore:
    store: VectorStore = module.open_store(
        config.vectors_url, config.cache_redis_url, config.vectors_mb << 20
    )
    return store
