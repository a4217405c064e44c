"""What every handler needs of HTTP. Knows aiohttp and no feature."""
