"""gRPC: the services, as their .proto files say."""

from pathlib import Path

PROTO = Path(__file__).parent / "proto"  # for whoever generates a client
