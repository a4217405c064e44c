"""The event bus over server-sent events and WebSocket."""
