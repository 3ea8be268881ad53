"""A client of the gateway over gRPC. It needs grpcio and the code made from the .proto file (see grpc.md).

python docs/grpc_client.py 127.0.0.1:50051 KEY MODEL "What is there to say?"
"""

from __future__ import annotations

import sys

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from grpcapi.generated.llmgateway.v1 import gateway_pb2 as pb
from grpcapi.generated.llmgateway.v1 import gateway_pb2_grpc as services


def main(address: str, key: str, model: str, question: str) -> int:
    """Print the answer as it comes, and what it took; or what was wrong."""
    parameters = pb.ChatParameters(model=model, messages=[pb.Message(role=pb.ROLE_USER, text=question)])
    with grpc.insecure_channel(address) as channel:
        chat = services.ChatServiceStub(channel)
        answer = chat.StreamChatCompletion(
            pb.StreamChatCompletionRequest(parameters=parameters),
            metadata=[("authorization", f"Bearer {key}")],
            timeout=60,
        )
        try:
            for chunk in answer:
                for choice in chunk.choices:
                    print(choice.delta.content, end="", flush=True)
                if chunk.HasField("usage"):
                    print(f"\n{chunk.usage.total_tokens} tokens")
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}", file=sys.stderr)
            for detail in rpc_status.from_call(error).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    print(f"{info.reason} {dict(info.metadata)}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5]))
