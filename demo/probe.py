"""Run inside a test host as a program of its own: asks a port who answers, or answers.

probe.py ask tcp|udp ADDRESS PORT     prints the answer; status 1 and the reason where none comes within 2 s
probe.py answer ADDRESS PORT          answers every TCP connection with the address that it comes from
"""

import socket
import sys

SECONDS = 2.0


def ask(protocol: str, address: str, port: int) -> int:
    """Says hello, prints what comes back. A server that speaks first needs no hello; one that does not gets one."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        if protocol == "udp":
            with socket.socket(family, socket.SOCK_DGRAM) as client:
                client.settimeout(SECONDS)
                client.connect((address, port))
                client.send(b"hello\n")
                print(client.recv(512).decode(errors="replace").strip())
        else:
            with socket.create_connection((address, port), SECONDS) as client:
                client.settimeout(SECONDS)
                client.sendall(b"hello\n")
                answer = client.recv(512)
                if not answer:
                    print("closed without an answer")
                    return 1
                print(answer.decode(errors="replace").strip())
    except OSError as error:
        print(error)
        return 1
    return 0


def answer(address: str, port: int) -> int:
    """Tells every caller the address that it is seen with, for ever."""
    with socket.create_server((address, port)) as server:
        print("listening", flush=True)
        while True:
            client, peer = server.accept()
            with client:
                client.sendall(f"you are {peer[0]}\n".encode())


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["ask", protocol, address, port]:
            sys.exit(ask(protocol, address, int(port)))
        case ["answer", address, port]:
            sys.exit(answer(address, int(port)))
        case _:
            sys.exit(str(__doc__))
