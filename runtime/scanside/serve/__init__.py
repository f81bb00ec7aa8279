"""The embedding server: requests in, answers out, by the protocol of ``docs/protocol.md``."""
