"""A migration's index that is built beside writers: where the ledger has millions of rows, a plain one holds
up all that ends a request until it is done."""

from __future__ import annotations

from typing import Any

from django.db.migrations import AddIndex

_STATE = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"


class AddIndexBeside(AddIndex):
    """Concurrently on PostgreSQL, in a migration with `atomic = False`; as ever on SQLite, which has one
    writer at a time. What an interrupted run has left is taken away first, so that it can be run again."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        connection = schema_editor.connection
        if connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        name = connection.ops.quote_name(self.index.name)
        with connection.cursor() as cursor:
            cursor.execute(_STATE, [name])
            found = cursor.fetchone()
        if found == (True,):
            return
        if found is not None:
            # It takes writes and answers no query.
            schema_editor.execute(f"DROP INDEX CONCURRENTLY {name}")
        # As AddIndexConcurrently would; but every process reads its migrations, and that one's module loads
        # PostgreSQL's driver, 8 MiB, also where there is none.
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(connection.alias, model):
            schema_editor.add_index(model, self.index, concurrently=True)
