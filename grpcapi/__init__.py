"""The gateway over gRPC: protobuf in front, the same calls behind."""
