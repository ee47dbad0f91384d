"""The cluster of the tests from the command line: `python -m tests.cluster.rig COMMAND`."""

from __future__ import annotations

import argparse
import subprocess
import sys

from tests.cluster.rig import cluster, node, toolbox
from tests.cluster.rig.layout import default_layout


def main() -> None:
    arguments = _parser().parse_args()
    try:
        arguments.call(arguments)
    except (cluster.CommandFailed, node.NodeFailed, toolbox.CannotBuild) as error:
        sys.exit(str(error))
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(map(str, error.cmd))} ended with {error.returncode}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.rig", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("up", help="start a cluster that stays").set_defaults(call=_up)
    commands.add_parser("down", help="remove it without a trace").set_defaults(call=_down)
    commands.add_parser("status", help="say whether one is up").set_defaults(call=_status)
    tools = commands.add_parser("tools", help="build what the tests run")
    tools.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(toolbox.TOOLS)}")
    tools.set_defaults(call=_tools)
    gpus = commands.add_parser("gpus", help="give the node GPUs that are none")
    gpus.add_argument("count", type=int)
    gpus.set_defaults(call=_gpus)
    return parser


def _up(_: argparse.Namespace) -> None:
    if cluster.source() == "given":
        sys.exit("KUBECONFIG is set: the tests use that cluster")
    print(f"export KUBECONFIG={cluster.bring_up().kubeconfig}")


def _down(_: argparse.Namespace) -> None:
    cluster.take_down()


def _status(_: argparse.Namespace) -> None:
    if cluster.source() == "node" and not node.is_up(default_layout()):
        sys.exit("no cluster is up")
    current = cluster.given() if cluster.source() == "given" else cluster.bring_up()
    print(f"export KUBECONFIG={current.kubeconfig}")
    print(current.kubectl("get", "nodes", "--output=wide"), end="")


def _tools(arguments: argparse.Namespace) -> None:
    """Build what is named, or what the core of the tests needs; on another's cluster that is no node."""
    tools = toolbox.GATE if cluster.source() == "node" else (toolbox.KUBERNETES, toolbox.HELM)
    if arguments.names:
        toolbox.main(arguments.names)
    for tool in () if arguments.names else tools:
        toolbox.program(tool)


def _gpus(arguments: argparse.Namespace) -> None:
    current = cluster.given() if cluster.source() == "given" else cluster.bring_up()
    current.gpus(arguments.count)


if __name__ == "__main__":
    main()
