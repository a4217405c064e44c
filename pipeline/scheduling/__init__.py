"""Tasks, their queue, and the workers that run them. The only asyncio below ``handlers``."""
