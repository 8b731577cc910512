"""One-shot of a deployment: the store's schema, and in an empty store the sample network.

    python deploy/prepare_store.py [CONNECTION=URL ...]

Each CONNECTION of the network is pointed at its URL. May run again at every deployment.
"""

import sys

from config.samples import load_sample
from config.settings import load_settings
from starter.commands.preparation import point_connections, prepare_database


def main(arguments: list[str]) -> int:
    """Prepare the store that the settings name; 2 when an argument is no CONNECTION=URL."""
    addresses: dict[str, str] = {}
    for argument in arguments:
        connection_id, separator, url = argument.partition("=")
        if not (connection_id and separator and url):
            print(f"'{argument}': write it as CONNECTION=URL", file=sys.stderr)
            return 2
        addresses[connection_id] = url
    settings = load_settings()
    is_new = prepare_database(settings.database, load_sample())
    point_connections(settings.database, addresses)
    print("loaded the sample network" if is_new else "the store has a network: kept")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
