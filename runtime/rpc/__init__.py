"""gRPC: the services, as their .proto files say."""
