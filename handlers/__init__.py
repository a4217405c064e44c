"""The HTTP side: requests in, replies, streams and sockets out."""
