"""``python -m focal_client``: the command ``focal``."""

import sys

from focal_client.cli.main import main

sys.exit(main())
