#!/usr/bin/python3
"""A balancer as an operator has in front of several controllers: round_robin.py PORT BACKEND_PORT… on 127.0.0.1. Each connection
goes to the next one; one that refuses is passed over."""
import itertools
import selectors
import socket
import sys
import threading


def pump(a, b):
    with selectors.DefaultSelector() as ready:
        ready.register(a, selectors.EVENT_READ, b)
        ready.register(b, selectors.EVENT_READ, a)
        while True:
            for key, _ in ready.select():
                try:
                    data = key.fileobj.recv(65536)
                    key.data.sendall(data)
                except OSError:
                    return
                if not data:
                    return


def serve(client, turns, ports):
    with client:
        for _ in ports:
            try:
                backend = socket.create_connection(("127.0.0.1", next(turns)), timeout=5)
            except OSError:
                continue
            backend.settimeout(None)
            with backend:
                pump(client, backend)
            return


def main():
    port, *ports = map(int, sys.argv[1:])
    turns = itertools.cycle(ports)
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve, args=(client, turns, ports), daemon=True).start()


main()
