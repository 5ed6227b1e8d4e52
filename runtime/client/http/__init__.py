"""The client over a gateway's API, for programs that have no access to Redis."""

from runtime.client.http.client import LaneworkHttp

__all__ = ["LaneworkHttp"]
