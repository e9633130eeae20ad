"""The stages as Envoy meets them: gRPC streams of protobuf messages, and nothing of it beyond."""
