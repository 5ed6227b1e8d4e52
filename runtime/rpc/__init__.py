"""gRPC: the services, as their .proto files say."""

import os
from pathlib import Path

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its library writes lines of its own into the log

PROTO = Path(__file__).parent / "proto"  # for whoever generates a client
