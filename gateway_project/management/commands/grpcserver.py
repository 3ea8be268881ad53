"""manage.py grpcserver: the gateway over gRPC, beside `manage.py serve` or alone."""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop
from django.conf import settings  # noqa: TID251 - a command is where settings come in
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    """Serves until told to end. The database must have been set up, by `serve` or `migrate`."""

    help = "Serve the gateway over gRPC (LLM_GATEWAY_GRPC_*). The database must have been set up."

    def handle(self, *args: Any, **options: Any) -> None:
        # gRPC and the gateway cost memory that no other command needs.
        from gateway_project.asgi import application  # noqa: PLC0415 - it constructs the gateway
        from gateway_project.grpc_process import GrpcProcess  # noqa: PLC0415 - see above
        from grpcapi.server import ListenError  # noqa: PLC0415 - see above

        async def run() -> None:
            await GrpcProcess(application, settings.GATEWAY.grpc, self._say).run()

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(run())
        except ListenError as error:
            raise CommandError(str(error)) from None

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
