"""The parts of the semantic cache for gateways under test: the real model, vectors in memory."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry

from pipeline.cache_shelf import Shelf
from pipeline.semantic.embedders import Embedders, Model
from pipeline.semantic.hits import Hits
from pipeline.semantic.lazily import Lazily
from pipeline.semantic.metrics import SemanticMetrics
from pipeline.semantic.stage import Answers
from pipeline.semantic.stores import VectorStore


def semantic_answers(shelf: Shelf, registry: CollectorRegistry) -> Answers:
    """Nothing is loaded before a route asks for it."""
    local: Lazily[Model] = Lazily("pipeline.semantic.local_model", _model)
    vectors: Lazily[VectorStore] = Lazily("pipeline.semantic.memory", _vectors)
    return Answers(shelf, Embedders(local), vectors, SemanticMetrics(registry), Hits())


def _model(module: Any) -> Model:
    model: Model = module.LocalModel()
    return model


def _vectors(module: Any) -> VectorStore:
    store: VectorStore = module.MemoryVectors()
    return store
