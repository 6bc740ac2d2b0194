"""`python -m taxaforge.tracking ship`: send the spool by hand, after an outage or while a run goes on."""

import argparse
import sys
import time

from taxaforge.tracking.ship import ship


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 when everything that is due was sent, else 1."""
    parser = argparse.ArgumentParser(prog="python -m taxaforge.tracking", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("ship", help="send the records that MLflow does not have yet")
    command.add_argument("--spool", default="results/state/spool", help="default: %(default)s")
    command.add_argument("--uri", default="sqlite:///results/mlflow.db", help="MLflow store, default: %(default)s")
    command.add_argument("--experiment", default="taxaforge", help="default: %(default)s")
    command.add_argument("--artifact-root", default="results/mlartifacts", help="for databases; default: %(default)s")
    command.add_argument("--follow", action="store_true", help="go on, so that running jobs show; end with Ctrl-C")
    command.add_argument("--every", type=float, default=3.0, metavar="S", help="seconds between rounds of --follow")
    given = parser.parse_args(arguments)
    try:
        while True:
            result = ship(
                spool=given.spool,
                uri=given.uri,
                experiment=given.experiment,
                artifact_root=given.artifact_root,
                live=given.follow,
            )
            if result.sent or not given.follow:
                print(f"{result.sent} records sent, {result.failed} waiting.")
            if not given.follow:
                return int(result.failed > 0)
            time.sleep(given.every)
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
