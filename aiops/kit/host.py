"""The machine that this process runs on, and the service manager that started it."""

import os
import socket


def node_name() -> str:
    """Name of the machine in labels: ``NODE_NAME`` where the environment has it, else the host name.

    In a pod the host name is the pod's; Kubernetes gives the node's through the downward API.
    """
    return os.environ.get("NODE_NAME") or socket.gethostname()


def tell_manager(message: str) -> bool:
    """Tell systemd ``READY=1``, ``WATCHDOG=1``, ``RELOADING=1``, ``STOPPING=1``; False where nobody listens.

    See sd_notify(3). A manager that cannot be reached must not end the daemon.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto(message.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
        except OSError:
            return False
    return True


def watchdog_seconds() -> float:
    """Time within which systemd wants to hear ``WATCHDOG=1``; 0.0 when it does not."""
    meant = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if meant and text.isdigit() else 0.0
