"""`linkspan`: finds the verb that was typed, runs it, and turns errors into words and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from linkspan.cli.client import Client
from linkspan.cli.failure import Failure, UsageError
from linkspan.cli.flags import FLAG_STATUS, Flag, Invocation, Parsed, Verb, check_count, help_text, parse, switch

GLOBAL_FLAGS = (
    Flag("host", "H", "address", "Where the daemon listens (default unix:///run/linkspan.sock)"),
    Flag("config", "", "folder", "Where the client's configuration is (default ~/.docker)"),
    Flag("context", "c", "string", "Accepted for docker's sake"),
    Flag("log-level", "l", "string", "Accepted for docker's sake"),
    switch("debug", "D", "Show where an unexpected error comes from"),
    switch("tls", "", "Use TLS"),
    switch("tlsverify", "", "Use TLS, and verify the daemon's certificate"),
    Flag("tlscacert", "", "file", "Trust certificates signed by this authority"),
    Flag("tlscert", "", "file", "The client's certificate"),
    Flag("tlskey", "", "file", "The client's key"),
    switch("version", "v", "Print the version"),
)

# Where each verb is: "module" or "module:NAME", and a sentence, so that `linkspan --help` imports no verb.
CONTAINER_VERBS = {
    "attach": ("attach", "Connect this terminal to a running container"),
    "bandwidth": ("bandwidth", "Limit what a container sends and receives on a network (only in linkspan)"),
    "commit": ("commit", "Make an image of a container and what it has written"),
    "cp": ("cp", "Copy files between a container and this machine"),
    "create": ("create", "Create a container without starting it"),
    "diff": ("diff", "Show what a container changed in its file system"),
    "exec": ("exec", "Run a command in a running container"),
    "export": ("export", "Write a container's file system as a tar archive"),
    "kill": ("kill", "Kill containers, or send them a signal"),
    "logs": ("logs", "Show a container's output"),
    "move": ("move", "Make a stopped container anew on another host (only in linkspan)"),
    "pause": ("pause", "Freeze the processes of containers"),
    "pipework": ("pipework", "Give a container an interface by hand (only in linkspan)"),
    "port": ("port", "Show the published ports of a container"),
    "publish": ("publish:PUBLISH", "Publish more ports of a container (only in linkspan)"),
    "rename": ("rename", "Rename a container"),
    "restart": ("restart", "Restart containers"),
    "rm": ("rm", "Remove containers"),
    "run": ("run", "Create a container from an image, and start it"),
    "start": ("start", "Start stopped containers"),
    "stats": ("stats", "Show what containers use of processor, memory and network"),
    "stop": ("stop", "Stop containers"),
    "top": ("top", "Show the processes of a container"),
    "unpause": ("unpause", "Thaw paused containers"),
    "unpublish": ("publish:UNPUBLISH", "Publish ports of a container no more (only in linkspan)"),
    "update": ("update", "Change the limits of containers"),
    "wait": ("wait", "Wait until containers end, and print their exit statuses"),
}
IMAGE_VERBS = {
    "history": ("history", "Show the layers of an image"),
    "import": ("import_", "Make an image of a tar archive of files"),
    "load": ("load", "Load images from an archive"),
    "pull": ("pull", "Get an image from a registry"),
    "push": ("push", "Put an image into a registry"),
    "save": ("save", "Write images into an archive"),
    "tag": ("tag", "Give an image another name"),
}
GROUPS: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {
    "bgp": (
        "Routes between the hosts of the cluster (only in linkspan)",
        {"status": ("bgp:STATUS", "Show this host's peers, and what they tell each other")},
    ),
    "cluster": (
        "The hosts that share networks (only in linkspan)",
        {"status": ("cluster:STATUS", "Show the store that they share, and how this host follows it")},
    ),
    "mesh": (
        "The mesh of hosts that this one is of (only in linkspan)",
        {
            "authority": ("mesh:AUTHORITY", "Show who signs the hosts' certificates, or make another"),
            "forget": ("mesh:FORGET", "Lock out hosts that are lost"),
            "status": ("mesh:STATUS", "Show how this host reaches the others"),
            "recover": ("mesh:RECOVER", "Go on where most of the store's members are gone for good"),
            "token": ("mesh:TOKEN", "Show what lets a host join, or make another"),
        },
    ),
    "ovs": (
        "Ports of Open vSwitch's bridges, as ovs-docker has them (only in linkspan)",
        {
            "add-port": ("ovs:ADD_PORT", "Give a container an interface that is a port of a bridge"),
            "del-port": ("ovs:DEL_PORT", "Take such an interface away again"),
            "del-ports": ("ovs:DEL_PORTS", "Take away all that a container has on a bridge"),
            "set-vlan": ("ovs:SET_VLAN", "Put such an interface into a VLAN"),
        },
    ),
    "policy": (
        "Who may talk to whom, as Calico's resources say it (only in linkspan)",
        {
            "apply": ("policy:APPLY", "Make policies and other resources as a file says"),
            "check": ("policy_check:CHECK", "Say whether one container may talk to another, and by which rule"),
            "delete": ("policy:DELETE", "Delete policies and other resources"),
            "get": ("policy:GET", "Show policies and other resources"),
            "list": ("policy:GET", "Show policies and other resources"),
            "ls": ("policy:GET", "Show policies and other resources"),
            "remove": ("policy:DELETE", "Delete policies and other resources"),
            "rm": ("policy:DELETE", "Delete policies and other resources"),
        },
    ),
    "host": (
        "Hosts of the cluster (only in linkspan)",
        {
            "inspect": ("inspect:HOST", "Show everything about hosts"),
            "ls": ("cluster:LIST", "List the hosts"),
            "list": ("cluster:LIST", "List the hosts"),
            "rm": ("cluster:REMOVE", "Take out hosts that have gone for good"),
            "remove": ("cluster:REMOVE", "Take out hosts that have gone for good"),
        },
    ),
    "container": (
        "Work with containers",
        {
            **CONTAINER_VERBS,
            "inspect": ("inspect:CONTAINER", "Show everything about containers"),
            "ls": ("ps", "List containers"),
            "ps": ("ps", "List containers"),
            "list": ("ps", "List containers"),
            "remove": ("rm", "Remove containers"),
            "prune": ("container_prune", "Remove every stopped container"),
        },
    ),
    "image": (
        "Work with images",
        {
            **IMAGE_VERBS,
            "inspect": ("inspect:IMAGE", "Show everything about images"),
            "ls": ("images", "List images"),
            "list": ("images", "List images"),
            "rm": ("rmi", "Remove images"),
            "remove": ("rmi", "Remove images"),
            "prune": ("image_prune", "Remove unused images"),
        },
    ),
    "network": (
        "Work with networks",
        {
            "connect": ("network:CONNECT", "Connect a container to a network"),
            "create": ("network_create", "Create a network"),
            "disconnect": ("network:DISCONNECT", "Disconnect a container from a network"),
            "inspect": ("inspect:NETWORK", "Show everything about networks"),
            "ls": ("network:LIST", "List networks"),
            "list": ("network:LIST", "List networks"),
            "prune": ("network:PRUNE", "Remove every unused network"),
            "rm": ("network:REMOVE", "Remove networks"),
            "remove": ("network:REMOVE", "Remove networks"),
            "release": ("reservations:RELEASE", "Give up an address that no container has now (only in linkspan)"),
            "reservations": ("reservations:LIST", "Show whose addresses are kept for them (only in linkspan)"),
            "reserve": ("reservations:RESERVE", "Keep an address for a container that is to come (only in linkspan)"),
            "update": ("network_update", "Change a network in place (only in linkspan)"),
        },
    ),
    "volume": (
        "Work with volumes",
        {
            "create": ("volume:CREATE", "Create a volume"),
            "inspect": ("inspect:VOLUME", "Show everything about volumes"),
            "ls": ("volume:LIST", "List volumes"),
            "list": ("volume:LIST", "List volumes"),
            "prune": ("volume:PRUNE", "Remove unused volumes"),
            "rm": ("volume:REMOVE", "Remove volumes"),
            "remove": ("volume:REMOVE", "Remove volumes"),
        },
    ),
    "system": (
        "The engine as a whole",
        {
            "df": ("system_df", "Show the disk space in use"),
            "events": ("events", "Show what happens, as it happens"),
            "info": ("info", "Show what the engine says of itself"),
            "prune": ("system_prune", "Remove everything that is not in use"),
        },
    ),
}
VERBS: dict[str, tuple[str, str]] = {
    **CONTAINER_VERBS,
    **IMAGE_VERBS,
    "events": ("events", "Show what happens, as it happens"),
    "flannel": ("flannel", "A host's end of a flannel network, for a Docker configured from it (only in linkspan)"),
    "images": ("images", "List images"),
    "info": ("info", "Show what the engine says of itself"),
    "inspect": ("inspect", "Show everything about containers, images, networks or volumes"),
    "login": ("login", "Store credentials for a registry"),
    "logout": ("logout", "Forget the credentials for a registry"),
    "ipam": ("ipam", "Show pools and networks, and whose their addresses are (only in linkspan)"),
    "nat": ("nat", "Show how ports and addresses are translated (only in linkspan)"),
    "ps": ("ps", "List containers"),
    "rmi": ("rmi", "Remove images"),
    "version": ("version", "Show the versions of command and engine"),
}


def main() -> None:
    """The entry point: never returns."""
    status = command(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has enough; nothing to say about it, now or at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    # Threads and finalizers have nothing left to do: leaving at once saves milliseconds.
    sys.stderr.flush()
    os._exit(status)


def command(words: Sequence[str]) -> int:
    """Runs one command line; its exit status."""
    debug = False
    try:
        options = parse(GLOBAL_FLAGS, words, runs_program=True)
        debug = options.on("debug")
        return _dispatch(options)
    except UsageError as error:
        print(
            f"{error}\n\nUsage:  linkspan [OPTIONS] COMMAND\n\nRun 'linkspan --help' for more information",
            file=sys.stderr,
        )
        return error.status
    except Failure as failure:
        if str(failure):
            sys.stdout.flush()
            print(failure, file=sys.stderr)
        return failure.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141  # streams.READER_GONE
    except (OSError, EOFError) as error:
        if debug:
            raise
        print(error, file=sys.stderr)
        return 1
    except (LookupError, TypeError, ValueError, AttributeError, AssertionError) as error:
        # Not the user's doing: the daemon answered in a form that we do not know, or there is a fault in here.
        if debug:
            raise
        kind = type(error).__name__
        print(f"linkspan: unexpected answer from the daemon ({kind}: {error}); -D shows where", file=sys.stderr)
        return 1


def _dispatch(options: Parsed) -> int:
    words = options.arguments
    if options.on("version"):
        from linkspan import __version__

        print(f"linkspan version {__version__}")
        return 0
    if words and words[0] == "help":
        words = [*words[1:], "--help"]
    if not words or words[0].startswith("--"):
        print(_overview())
        return 0
    name, rest = words[0], words[1:]
    if name not in GROUPS:
        return _run(VERBS, name, name, rest, options)
    summary, verbs = GROUPS[name]
    if not rest or rest[0].startswith("-"):
        print(_group_help(name, summary, verbs))
        return 0
    return _run(verbs, rest[0], f"{name} {rest[0]}", rest[1:], options)


def _run(verbs: dict[str, tuple[str, str]], name: str, path: str, words: list[str], options: Parsed) -> int:
    if name not in verbs:
        raise Failure(_unknown(verbs, name, path))
    module, _, attribute = verbs[name][0].partition(":")
    verb: Verb = getattr(import_module(f"linkspan.cli.verbs.{module}"), attribute or "VERB")
    if verb.raw:
        return verb.run(Invocation(Parsed({}, {}, words), _client(options), path))
    try:
        line = parse(verb.flags, words, runs_program=verb.runs_program, aliases=verb.aliases)
        if line.on("help"):
            print(help_text(verb, path))
            return 0
        check_count(verb, path, len(line.arguments))
        return verb.run(Invocation(line, _client(options), path))
    except UsageError as error:
        prefix = "" if error.status == FLAG_STATUS else "linkspan: "
        see = "See" if verb.most is None and prefix else "Run"
        usage = f"Usage:  linkspan {path} {verb.usage}".rstrip()
        raise Failure(
            f"{prefix}{error}\n\n{usage}\n\n{see} 'linkspan {path} --help' for more information", error.status
        ) from None


def _client(options: Parsed) -> Client:
    from linkspan.cli.address import from_options

    tls = {
        name: options.text(name)
        for name in ("tls", "tlsverify", "tlscacert", "tlscert", "tlskey")
        if options.given(name)
    }
    if options.given("config"):
        os.environ["DOCKER_CONFIG"] = options.text("config")
    return Client(from_options(options.text("host"), tls))


def _unknown(verbs: dict[str, tuple[str, str]], name: str, path: str) -> str:
    import difflib

    group = path.removesuffix(name)
    names = list(verbs) + (list(GROUPS) if not group else [])
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    guess = f"\n\nDid you mean {' or '.join(f'`linkspan {group}{word}`' for word in near)}?" if near else ""
    return f"linkspan: unknown command: linkspan {path}{guess}\n\nRun 'linkspan {group}--help' for more information"


def _overview() -> str:
    lines = ["Usage:  linkspan [OPTIONS] COMMAND", "", "Containers and their networks, with docker's verbs.", ""]
    lines.append("Commands:")
    lines += [f"  {name:12}{summary}" for name, (_, summary) in sorted(VERBS.items())]
    lines += ["", "Groups (`linkspan GROUP --help` lists their commands):"]
    lines += [f"  {name:12}{summary}" for name, (summary, _) in sorted(GROUPS.items())]
    lines += ["", "Options:"]
    lines += [f"  {flag.label if flag.short else '    ' + flag.label:22}{flag.help}" for flag in GLOBAL_FLAGS]
    lines += [
        "",
        "The daemon's address is taken from -H, LINKSPAN_HOST or DOCKER_HOST.",
        "Run 'linkspan COMMAND --help' for more information on a command.",
    ]
    return "\n".join(lines)


def _group_help(group: str, summary: str, verbs: dict[str, tuple[str, str]]) -> str:
    shown: dict[str, tuple[str, str]] = {}
    for name, (module, text) in sorted(verbs.items()):
        if name not in ("list", "remove", "ps"):
            shown[name] = (module, text)
    lines = [f"Usage:  linkspan {group} COMMAND", "", summary, "", "Commands:"]
    width = max(12, *(len(name) + 2 for name in shown))
    lines += [f"  {name:{width}}{text}" for name, (_, text) in shown.items()]
    lines += ["", f"Run 'linkspan {group} COMMAND --help' for more information on a command."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
