"""A worker that runs anywhere, and reaches Lanework through a gateway alone.

from runtime.remote import Worker

Worker("http://localhost:50051").register("email", send).run()
"""

import runtime.rpc  # noqa: F401  # before grpc: it quiets the log of that
from runtime.remote.worker import Worker

__all__ = ["Worker"]
