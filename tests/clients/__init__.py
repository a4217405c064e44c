"""Programs that use published clients of other servers, each in an environment of its own."""
